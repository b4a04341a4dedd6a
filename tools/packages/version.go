package main

import (
	"regexp"
	"strings"
	"time"
)

var described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:-([a-z][0-9A-Za-z.]*))?(?:-(\d+)-(g[0-9a-f]+))?(-dirty)?$`)

// packageVersion is a version as dpkg and rpm order them, from what git describe tells: what comes before a release has
// a tilde, commits after a tag a plus. A tree without a tag gets a version below every release, by the time of its commit.
func packageVersion(git string, at time.Time) string {
	m := described.FindStringSubmatch(git)
	if m == nil {
		rest := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '.'
		}, git)
		return strings.TrimSuffix("0.0.0+"+at.Format("20060102150405")+"."+rest, ".")
	}
	v := m[1]
	if m[2] != "" {
		v += "~" + m[2]
	}
	if m[3] != "" {
		v += "+" + m[3] + "." + m[4]
	}
	if m[5] != "" {
		v += "+dirty"
	}
	return v
}
