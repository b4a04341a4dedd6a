package foreign

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"restic-manager/schedule"
)

// due are due times as sets; nil: every value.
type due struct {
	minutes, hours, days, months, weekdays []int
	zone                                   string // empty: not named
}

// words that stand for a calendar (systemd.time(7)).
var words = map[string]string{
	"minutely": "*-*-* *:*", "hourly": "*-*-* *:00", "daily": "*-*-* 00:00", "weekly": "Mon *-*-* 00:00", "monthly": "*-*-01 00:00",
	"quarterly": "*-01,04,07,10-01 00:00", "semiannually": "*-01,07-01 00:00", "yearly": "*-01-01 00:00", "annually": "*-01-01 00:00",
}

// calendars gives one cron expression for systemd calendar expressions that are due at the times of all of them, and the
// zone they name. An error says what cannot be said in cron.
func calendars(list []string) (cron, zone string, err error) {
	if len(list) == 0 {
		return "", "", errors.New("it is empty")
	}
	var all due
	for i, text := range list {
		d, err := calendar(text)
		if err != nil {
			return "", "", fmt.Errorf("%q: %w", text, err)
		}
		if i == 0 {
			all = d
		} else if all, err = all.with(d); err != nil {
			return "", "", err
		}
	}
	cron, err = all.cron()
	return cron, all.zone, err
}

// with gives the due times of both, where one cron expression can say them.
func (d due) with(o due) (due, error) {
	if d.zone != o.zone {
		return d, errors.New("its times are of two time zones")
	}
	mine, theirs := d.sets(), o.sets()
	differ := -1
	for i := range mine {
		if !slices.Equal(*mine[i], *theirs[i]) {
			if differ >= 0 {
				return d, errors.New("one cron expression cannot say all of its times; make a policy for each")
			}
			differ = i
		}
	}
	if differ < 0 {
		return d, nil
	}
	if *mine[differ] == nil || *theirs[differ] == nil {
		*mine[differ] = nil
		return d, nil
	}
	both := append(slices.Clone(*mine[differ]), *theirs[differ]...)
	slices.Sort(both)
	*mine[differ] = slices.Compact(both)
	return d, nil
}

func (d *due) sets() []*[]int {
	return []*[]int{&d.minutes, &d.hours, &d.days, &d.months, &d.weekdays}
}

func (d due) cron() (string, error) {
	if d.days != nil && d.weekdays != nil {
		return "", errors.New("a weekday and a day of the month together mean both at once there, and either of them in cron")
	}
	if d.months != nil && d.days == nil && d.weekdays == nil && len(d.months) == 0 {
		return "", errors.New("it is never due")
	}
	var fields []string
	for _, set := range d.sets() {
		if *set == nil {
			fields = append(fields, "*")
			continue
		}
		var texts []string
		for _, n := range *set {
			texts = append(texts, strconv.Itoa(n))
		}
		fields = append(fields, strings.Join(texts, ","))
	}
	cron := strings.Join(fields, " ")
	if _, err := schedule.Parse(cron, "UTC"); err != nil {
		return "", err
	}
	return cron, nil
}

// calendar reads one systemd calendar expression.
func calendar(text string) (d due, err error) {
	text = strings.TrimSpace(text)
	if full, ok := words[strings.ToLower(text)]; ok {
		text = full
	}
	parts := strings.Fields(text)
	if len(parts) == 0 {
		return d, errors.New("it is empty")
	}
	if last := parts[len(parts)-1]; len(parts) > 1 && !strings.ContainsAny(last, ":*") && !startsWithDigit(last) {
		if _, err := weekdays(last); err != nil {
			if _, err := time.LoadLocation(last); err != nil || last == "Local" {
				return d, fmt.Errorf("%s is no time zone", last)
			}
			d.zone, parts = last, parts[:len(parts)-1]
		}
	}
	if !startsWithDigit(parts[0]) && !strings.HasPrefix(parts[0], "*") {
		if d.weekdays, err = weekdays(parts[0]); err != nil {
			return d, err
		}
		parts = parts[1:]
	}
	d.minutes, d.hours = []int{0}, []int{0}
	for i, part := range parts {
		switch {
		case strings.Contains(part, ":") && i == len(parts)-1:
			err = d.clock(part)
		case strings.Contains(part, "-") && i == 0:
			err = d.date(part)
		default:
			err = errors.New("it cannot be read")
		}
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

func (d *due) clock(text string) (err error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return errors.New("it cannot be read")
	}
	if len(parts) == 3 {
		if s, err := set(parts[2], 0, 59); err != nil || !slices.Equal(s, []int{0}) {
			return errors.New("cron knows no seconds")
		}
	}
	if d.hours, err = set(parts[0], 0, 23); err != nil {
		return err
	}
	d.minutes, err = set(parts[1], 0, 59)
	return err
}

func (d *due) date(text string) (err error) {
	if strings.Contains(text, "~") {
		return errors.New("days from a month's end cannot be said in cron")
	}
	parts := strings.Split(text, "-")
	if len(parts) == 3 {
		if parts[0] != "*" {
			return errors.New("cron knows no years")
		}
		parts = parts[1:]
	}
	if len(parts) != 2 {
		return errors.New("it cannot be read")
	}
	if d.months, err = set(parts[0], 1, 12); err != nil {
		return err
	}
	d.days, err = set(parts[1], 1, 31)
	return err
}

// set reads values, ranges and steps; nil: all.
func set(text string, low, high int) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		bounds, step, stepped := strings.Cut(part, "/")
		every := 1
		if stepped {
			n, err := strconv.Atoi(step)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q cannot be read", part)
			}
			every = n
		}
		from, to := low, high
		if bounds != "*" {
			first, last, ranged := strings.Cut(bounds, "..")
			a, err := strconv.Atoi(first)
			if err != nil {
				return nil, fmt.Errorf("%q cannot be read", part)
			}
			from, to = a, a
			if ranged {
				if to, err = strconv.Atoi(last); err != nil {
					return nil, fmt.Errorf("%q cannot be read", part)
				}
			} else if stepped {
				to = high
			}
		}
		if from < low || to > high || from > to {
			return nil, fmt.Errorf("%q is not within %d to %d", part, low, high)
		}
		for n := from; n <= to; n += every {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == high-low+1 {
		return nil, nil
	}
	return all, nil
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// weekdays reads names of days and ranges of them; nil: all.
func weekdays(text string) ([]int, error) {
	number := func(name string) (int, error) {
		name = strings.ToLower(name)
		for i, short := range dayNames {
			if name == short || name == strings.ToLower(time.Weekday(i).String()) {
				return i, nil
			}
		}
		return 0, fmt.Errorf("%.40q is no weekday", name)
	}
	var all []int
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
		first, last, ranged := strings.Cut(part, "..")
		if !ranged {
			first, last, ranged = strings.Cut(part, "-")
		}
		from, err := number(first)
		if err != nil {
			return nil, err
		}
		to := from
		if ranged {
			if to, err = number(last); err != nil {
				return nil, err
			}
		}
		for n := from; ; n = (n + 1) % 7 {
			all = append(all, n)
			if n == to {
				break
			}
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 7 {
		return nil, nil
	}
	return all, nil
}
