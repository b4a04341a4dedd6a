package restic

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Version is restic's version. The zero value means unknown and is older than every other.
type Version struct {
	Major, Minor, Patch int
	// Dev marks a build between two releases; it counts as the release it carries the number of.
	Dev bool
}

// Minimum is the oldest restic that this product runs.
var Minimum = Version{Minor: 14}

// versionText is the first line of "restic version" in all versions.
var versionText = regexp.MustCompile(`(?m)^restic (\d{1,5})\.(\d{1,5})\.(\d{1,5})(-dev)?.* compiled with .+ on \S+/\S+$`)

// ParseVersion reads the text that "restic version" prints. It is an error when the text is not restic's.
func ParseVersion(text string) (Version, error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("%.80q is not what restic version prints", text)
	}
	return versionOf(m[1:5]), nil
}

var shortVersion = regexp.MustCompile(`^(\d{1,5})\.(\d{1,5})\.(\d{1,5})(-dev)?$`)

// versionOf takes digits that a pattern has checked.
func versionOf(m []string) Version {
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i])
	}
	return Version{Major: n[0], Minor: n[1], Patch: n[2], Dev: m[3] != ""}
}

// Compare orders versions by their numbers: negative when v is older than w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether v is the release minor.patch of the 0 series, or newer.
func (v Version) AtLeast(minor, patch int) bool {
	return v.Compare(Version{Minor: minor, Patch: patch}) >= 0
}

// String is the version as restic writes it, such as "0.18.0"; empty for the zero value.
func (v Version) String() string {
	if v == (Version{}) {
		return ""
	}
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Dev {
		s += "-dev"
	}
	return s
}

// MarshalText writes String.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Version) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*v = Version{}
		return nil
	}
	m := shortVersion.FindStringSubmatch(string(b))
	if m == nil {
		return fmt.Errorf("version: %.40q is not a version of restic", b)
	}
	*v = versionOf(m[1:5])
	return nil
}
