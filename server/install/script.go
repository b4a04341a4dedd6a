package install

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"restic-manager/packaging"
	"restic-manager/server/fault"
)

//go:embed install.sh
var template string

// marker is the template's line that the values take the place of.
const marker = "#@values\n"

// What the values may be. They are quoted too: each of the two alone would do.
var (
	goodURL  = regexp.MustCompile(`^https?://[A-Za-z0-9._:\[\]-]+$`)
	goodPin  = regexp.MustCompile(`^(sha256:[0-9a-f]{64})?$`)
	goodSPKI = regexp.MustCompile(`^(sha256//[A-Za-z0-9+/=]{44})?$`)
	goodSum  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	odd      = regexp.MustCompile(`[^A-Za-z0-9._+~-]`)
)

// Script is the shell script that installs one of the programs on a machine and enrolls it with the site. Without a
// program it is not_found.
func Script(s Site, programs []Program) ([]byte, error) {
	if len(programs) == 0 {
		return nil, fault.New(fault.NotFound, "not_found", "This server has no agents to hand out. Put them into its folder of agents (--agents-dir), or install them as docs/install.md says.")
	}
	if !goodURL.MatchString(s.URL) || !goodPin.MatchString(s.CertPin) || !goodSPKI.MatchString(s.SPKIPin) {
		return nil, fmt.Errorf("make the install script: not for a script: %q %q %q", s.URL, s.CertPin, s.SPKIPin)
	}
	var b strings.Builder
	for _, v := range []struct{ name, value string }{{"made_for", s.URL}, {"version", odd.ReplaceAllString(s.Version, "_")}, {"cert_pin", s.CertPin}, {"spki_pin", s.SPKIPin}} {
		fmt.Fprintf(&b, "%s=%s\n", v.name, word(v.value))
	}
	var names string
	b.WriteString("\nsum_of() {\n\tcase $1 in\n")
	for _, p := range programs {
		if !platformName.MatchString(p.Platform) || !goodSum.MatchString(p.SHA256) {
			return nil, fmt.Errorf("make the install script: not for a script: %q %q", p.Platform, p.SHA256)
		}
		fmt.Fprintf(&b, "\t%s) echo %s ;;\n", p.Platform, p.SHA256)
		names += " " + p.Platform
	}
	b.WriteString("\tesac\n}\n\nplatforms=" + word(names) + "\n")
	for _, f := range []struct{ name, text string }{{"unit_text", packaging.AgentUnit}, {"rc_text", packaging.AgentOpenRC}} {
		if err := document(&b, f.name, f.text); err != nil {
			return nil, err
		}
	}
	return []byte(strings.Replace(template, marker, b.String(), 1)), nil
}

// word is always in quotes: the value of an assignment may be empty.
func word(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// document is a function that prints a text, as it is.
func document(b *strings.Builder, name, text string) error {
	const end = "END_OF_FILE"
	if strings.Contains(text, end) || !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("make the install script: the text of %s cannot be put into it", name)
	}
	fmt.Fprintf(b, "\n%s() {\n\tcat <<'%s'\n%s%s\n}\n", name, end, text, end)
	return nil
}
