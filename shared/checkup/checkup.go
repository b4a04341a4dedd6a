// Package checkup is what the doctors of both programs say: one line per check, with what to do.
package checkup

import (
	"fmt"
	"slices"
	"strings"
)

// State is how a check went.
type State string

// The states. Only Wrong makes a doctor exit with 1.
const (
	Good    State = "ok"
	Warning State = "warning" // it works, and somebody should look at it
	Wrong   State = "wrong"
	Skipped State = "skipped" // it could not be tried, or is not needed
)

func (s State) sign() string {
	switch s {
	case Good:
		return "✓"
	case Warning:
		return "!"
	case Wrong:
		return "✗"
	}
	return "–"
}

// Result is one line.
type Result struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`         // what was found
	Hint   string `json:"hint,omitempty"` // what to do
}

// Ok is a check that found all well.
func Ok(format string, args ...any) Result {
	return Result{State: Good, Detail: fmt.Sprintf(format, args...)}
}

// Warn is a check that found what works and should be looked at.
func Warn(hint, format string, args ...any) Result {
	return Result{State: Warning, Detail: fmt.Sprintf(format, args...), Hint: hint}
}

// Fail is a check that found something wrong.
func Fail(hint, format string, args ...any) Result {
	return Result{State: Wrong, Detail: fmt.Sprintf(format, args...), Hint: hint}
}

// Skip is a check that was not tried.
func Skip(format string, args ...any) Result {
	return Result{State: Skipped, Detail: fmt.Sprintf(format, args...)}
}

// Text is the line for people; a hint has a line of its own.
func (r Result) Text() string {
	text := fmt.Sprintf("%s %-12s %s\n", r.State.sign(), r.Name, oneLine(r.Detail))
	if r.Hint != "" {
		text += fmt.Sprintf("  %-12s → %s\n", "", oneLine(r.Hint))
	}
	return text
}

// oneLine keeps what others wrote, as a page's title, from looking like lines of ours or commanding the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Healthy reports whether nothing is wrong.
func Healthy(results []Result) bool {
	return !slices.ContainsFunc(results, func(r Result) bool { return r.State == Wrong })
}
