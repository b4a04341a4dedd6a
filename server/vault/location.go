package vault

import (
	"errors"
	"strings"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// hostMark in a location stands for each host's own folder.
const hostMark = "{host}"

// standIn takes the mark's place while a location is checked: a path may hold it, the name of a server, a user or a
// bucket may not.
const standIn = "~host~"

// checkLocation gives a location in the form that restic gets, but for the mark, or an invalid fault.
func checkLocation(url string) (string, error) {
	marks := strings.Count(url, hostMark)
	if marks == 0 {
		url, err := wire.CheckRepositoryURL(url)
		return url, invalid(err)
	}
	if marks > 1 || strings.Contains(url, standIn) {
		return "", fault.Invalidf("url: give {host} once, in the path")
	}
	clean, err := wire.CheckRepositoryURL(strings.Replace(url, hostMark, standIn, 1))
	if err != nil {
		if _, without := wire.CheckRepositoryURL(strings.Replace(url, hostMark, "host", 1)); without == nil {
			return "", fault.Invalidf("url: give {host} in the path, not in the name of a server, a user or a bucket")
		}
		return "", invalid(errors.New(strings.ReplaceAll(err.Error(), standIn, hostMark)))
	}
	if !strings.Contains(clean, standIn) {
		return "", fault.Invalidf("url: the part with {host} is taken away by a .. after it; leave .. out")
	}
	return strings.Replace(clean, standIn, hostMark, 1), nil
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return fault.Invalidf("%v", err)
}

func perHost(url string) bool { return strings.Contains(url, hostMark) }

// backend names where a location is.
func backend(url string) string {
	scheme, _, ok := strings.Cut(url, ":")
	if !ok || strings.HasPrefix(url, "/") {
		return "local"
	}
	return scheme
}

// folder makes a host's name one element of a path, on any storage: letters, digits, dot, dash and underscore stay, all
// else becomes a dash. Empty: nothing of it is left.
func folder(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, name)
	return strings.Trim(safe, ".-")
}

// located is the location for the host that has the folder.
func located(url, folder string) string { return strings.Replace(url, hostMark, folder, 1) }

// folderIn finds the folder that a host's location has in the setting's; empty: it is none of that.
func folderIn(setting, location string) string {
	before, after, ok := strings.Cut(setting, hostMark)
	if !ok || len(location) < len(before)+len(after) || !strings.HasPrefix(location, before) || !strings.HasSuffix(location, after) {
		return ""
	}
	return location[len(before) : len(location)-len(after)]
}
