package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// Describe says in words when the expression is due, its zone and spread apart; the expression itself where there are no
// short words for it.
func (s *Schedule) Describe() string {
	at, ok := s.times()
	if !ok {
		return "cron " + s.expression
	}
	days, ok := s.days()
	if !ok {
		return "cron " + s.expression
	}
	if days == "" {
		return at
	}
	return days + " " + at
}

// all is the mask of a field's values.
func all(low, high int) uint64 {
	var m uint64
	for i := low; i <= high; i++ {
		m |= 1 << uint(i)
	}
	return m
}

// values are those of a mask, without its mark.
func values(mask uint64, low, high int) (list []int) {
	for i := low; i <= high; i++ {
		if has(mask, i) {
			list = append(list, i)
		}
	}
	return list
}

// step is n where the mask holds each n-th of size values from 0 on, and they come round evenly; else 0.
func step(mask uint64, size int) int {
	list := values(mask, 0, size-1)
	if len(list) < 2 || list[0] != 0 || size%len(list) != 0 {
		return 0
	}
	n := size / len(list)
	for i, v := range list {
		if v != i*n {
			return 0
		}
	}
	return n
}

func (s *Schedule) times() (string, bool) {
	minutes, hours := values(s.spec.Minute, 0, 59), values(s.spec.Hour, 0, 23)
	everyHour := len(hours) == 24
	switch n := step(s.spec.Minute, 60); {
	case everyHour && n == 1:
		return "every minute", true
	case everyHour && n > 1:
		return fmt.Sprintf("every %d minutes", n), true
	case everyHour && len(minutes) == 1 && minutes[0] == 0:
		return "every hour", true
	case everyHour && len(minutes) == 1:
		return fmt.Sprintf("every hour at minute %d", minutes[0]), true
	}
	if len(minutes) != 1 {
		return "", false
	}
	if n := step(s.spec.Hour, 24); n > 1 && !s.byWall {
		if minutes[0] == 0 {
			return fmt.Sprintf("every %d hours", n), true
		}
		return fmt.Sprintf("every %d hours at minute %d", n, minutes[0]), true
	}
	if len(hours) > 4 {
		return "", false
	}
	at := make([]string, len(hours))
	for i, h := range hours {
		at[i] = fmt.Sprintf("%02d:%02d", h, minutes[0])
	}
	return "at " + listed(at), true
}

// days is empty where every day is meant and the times say so themselves.
func (s *Schedule) days() (string, bool) {
	named := s.byWall
	everyDay := s.spec.Dom&star != 0 && s.spec.Dow&star != 0
	if s.spec.Month != all(1, 12)|s.spec.Month&star {
		if bits.OnesCount64(s.spec.Month&^uint64(star)) != 1 || s.spec.Dow&star == 0 || s.spec.Dom&star != 0 {
			return "", false
		}
		dom := values(s.spec.Dom, 1, 31)
		if len(dom) != 1 {
			return "", false
		}
		return fmt.Sprintf("every year on %d %s", dom[0], time.Month(values(s.spec.Month, 1, 12)[0])), true
	}
	switch {
	case everyDay && named:
		return "every day", true
	case everyDay:
		return "", true
	case s.spec.Dom&star != 0:
		dow := values(s.spec.Dow, 0, 6)
		switch {
		case len(dow) == 7 && named:
			return "every day", true
		case s.spec.Dow == all(1, 5):
			return "Monday to Friday", true
		case len(dow) > 3:
			return "", false
		}
		names := make([]string, len(dow))
		for i, d := range dow {
			names[i] = time.Weekday(d).String()
		}
		return "every " + listed(names), true
	case s.spec.Dow&star != 0:
		dom := values(s.spec.Dom, 1, 31)
		if len(numbers(dom)) > 3 {
			return "", false
		}
		return "every month on day " + listed(numbers(dom)), true
	}
	return "", false
}

func numbers(days []int) []string {
	list := make([]string, len(days))
	for i, d := range days {
		list[i] = fmt.Sprint(d)
	}
	return list
}

// listed joins words as people do.
func listed(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
