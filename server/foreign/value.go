package foreign

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// section is a mapping of a configuration.
type section map[string]any

func (s section) keys() []string { return slices.Sorted(maps.Keys(s)) }

// in is the section under the key; nil: there is none.
func (s section) in(key string) section {
	m, _ := s[key].(map[string]any)
	return m
}

// text is a value as text; false: it is not there, or is a list or a section.
func (s section) text(key string) (string, bool) { return text(s[key]) }

func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// list is a list of texts, or one text as a list.
func (s section) list(key string) (list []string) {
	if one, ok := s.text(key); ok {
		return []string{one}
	}
	all, _ := s[key].([]any)
	for _, v := range all {
		if t, ok := text(v); ok {
			list = append(list, t)
		}
	}
	return list
}

func (s section) is(key string) bool {
	t, _ := s.text(key)
	on, _ := strconv.ParseBool(t)
	return on
}

// number is a whole number that is not negative; false: it is none, or not there.
func (s section) number(key string) (int, bool) {
	t, ok := s.text(key)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil || f < 0 || f > math.MaxInt32 || f != math.Trunc(f) {
		return 0, false
	}
	return int(f), true
}

// bytesOf reads a size as restic does: 100M, 1.5G. False: it is none.
func bytesOf(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, false
	}
	unit := int64(1)
	if i := strings.IndexByte("KMGT", text[len(text)-1]&^0x20); i >= 0 {
		unit, text = 1<<(10*(i+1)), text[:len(text)-1]
	} else if strings.EqualFold(text[len(text)-1:], "B") {
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// daysOf reads a duration as restic does, 1y5m7d2h, where it is whole days.
func daysOf(text string) (int, bool) {
	days, number := 0, ""
	for _, r := range text {
		switch {
		case r >= '0' && r <= '9':
			number += string(r)
			continue
		case r == 'd' || r == 'h':
			n, err := strconv.Atoi(number)
			if err != nil || n > 1_000_000 || r == 'h' && n%24 != 0 {
				return 0, false
			}
			if r == 'h' {
				n /= 24
			}
			days += n
		default:
			return 0, false
		}
		number = ""
	}
	return days, number == "" && days > 0 && days <= 36500
}
