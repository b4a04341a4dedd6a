package ascode

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Apply does what the plan says, one after another, and tells each when it is done. It stops at the first that is refused:
// the error names it, and what was done stays done. Another run does the rest.
func (p *Plan) Apply(ctx context.Context, tell func(c Change)) (done int, err error) {
	for i, c := range p.Changes {
		if err := c.do(ctx); err != nil {
			return i, fmt.Errorf("%s %s %q: %w", c.Verb, c.Noun, c.Name, err)
		}
		tell(c)
	}
	return len(p.Changes), nil
}

// signs stand before a change's line.
var signs = map[string]string{Make: "+", Edit: "~", Remove: "-"}

// Write writes the plan for people.
func (p *Plan) Write(w io.Writer) error {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s %s %s\n", signs[c.Verb], c.Verb, c.Noun, line(c.Name))
		for _, f := range c.Fields {
			if f.Name == "name" && c.Verb == Make {
				continue // it stands above
			}
			fmt.Fprintf(&b, "    %s: %s\n", f.Name, f.text(c.Verb))
		}
		if c.Hosts != "" {
			fmt.Fprintf(&b, "    machines: %s\n", line(c.Hosts))
		}
		for _, warning := range c.Warnings {
			fmt.Fprintf(&b, "  ! %s\n", line(warning))
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "! %s\n", line(n))
	}
	count := map[string]int{}
	for _, c := range p.Changes {
		count[c.Verb]++
	}
	if len(p.Changes) == 0 {
		b.WriteString("Nothing is to do: the server is as the file says.\n")
	} else {
		fmt.Fprintf(&b, "%d to make, %d to change, %d to remove.\n", count[Make], count[Edit], count[Remove])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Field) text(verb string) string {
	before, after := quoted(f.Before), quoted(f.After)
	if verb == Make {
		return after
	}
	if strings.Contains(f.Before+f.After, "\n") {
		return difference(strings.Split(f.Before, "\n"), strings.Split(f.After, "\n"))
	}
	return before + " -> " + after
}

// difference are the lines of lists that are in one of them alone; where only their order differs, both.
func difference(before, after []string) string {
	var parts []string
	in := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, e := range list {
			m[e] = true
		}
		return m
	}
	was, is := in(before), in(after)
	for _, e := range before {
		if !is[e] && e != "" {
			parts = append(parts, "-"+line(e))
		}
	}
	for _, e := range after {
		if !was[e] && e != "" {
			parts = append(parts, "+"+line(e))
		}
	}
	if len(parts) == 0 {
		return quoted(strings.Join(before, "\n")) + " -> " + quoted(strings.Join(after, "\n"))
	}
	return strings.Join(parts, " ")
}

func quoted(s string) string {
	if s == "" {
		return "(not set)"
	}
	return line(strings.ReplaceAll(s, "\n", ", "))
}

// line is text from outside on one line, with nothing in it that a terminal obeys.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '\ufffd'
		}
		return r
	}, s)
}
