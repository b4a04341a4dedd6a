package restic

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// advice says what to do about a code; it follows restic's own words.
var advice = map[string]string{
	wire.CodeWrongPassword:         "check the repository's password (repo_password in agent.yaml, or the repository's settings on the server)",
	wire.CodeRepositoryMissing:     "check the repository's location, or make the repository with an init job",
	wire.CodeRepositoryLocked:      "wait for its holder; when that program is dead, run an unlock job on its host",
	wire.CodeRepositoryUnreachable: "check the repository's address, the network and the certificate",
	wire.CodeRepositoryDamaged:     "do not prune; read restic's words in the log and its documentation on repairing a repository",
	wire.CodeRepositoryExists:      "there is a repository already; use it, or give another location",
	wire.CodePermissionDenied:      "check the credentials and the rights there; an append-only repository refuses to delete",
	wire.CodeSourceMissing:         "correct the paths, or mount what holds them",
	wire.CodeNoSpace:               "make room where the repository is, or raise its quota",
	wire.CodeUsage:                 "restic refused its settings; check the repository's settings and restic's version",
	wire.CodeRestic:                "the log has restic's words",
}

// rule tells a code by words of restic or of its backends. Order matters: the first that fits decides.
type rule struct {
	code string
	text *regexp.Regexp
}

// rules are needed for exit code 1: all failures of 0.14 to 0.16, most of the later ones. Source: restic's
// messages as recorded from 0.14.0, 0.16.5, 0.17.3, 0.18.0, 0.19.1 and master.
var rules = []rule{
	{wire.CodeRepositoryLocked, regexp.MustCompile(`repository is already locked`)},
	{wire.CodeWrongPassword, regexp.MustCompile(`wrong password or no key found|an empty password is not`)},
	{wire.CodeUsage, regexp.MustCompile(`mutually exclusive|[Pp]lease specify|parsing repository location failed|unknown (?:shorthand )?(?:flag|command|feature flag)|invalid argument|invalid value for|invalid compression mode|cannot be specified at the same time`)},
	{wire.CodeWrongPassword, regexp.MustCompile(`Resolving password failed`)},
	{wire.CodeRepositoryExists, regexp.MustCompile(`config file already exists|repository already exists|repository master key and config already initialized`)},
	{wire.CodeRepositoryMissing, regexp.MustCompile(`repository does not exist|unable to open config file:.*(?:no such file|does not exist|NoSuchKey|not found)`)},
	{wire.CodeNoSpace, regexp.MustCompile(`507 Insufficient Storage|no space left on device|[Dd]isk quota exceeded`)},
	{wire.CodeSourceMissing, regexp.MustCompile(`all (?:target|source) directories/files do not exist`)},
	{wire.CodeRepositoryDamaged, regexp.MustCompile(`repository contains errors|packs from index missing in repo|ciphertext verification failed|does not match, want|invalid data returned|the repository is damaged|The repository is damaged|blobs? .*not found in index|hash mismatch|pack [0-9a-f]{64}: does not exist`)},
	{wire.CodePermissionDenied, regexp.MustCompile(`\(40[13]\)|40[13] (?:Unauthorized|Forbidden)|AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch`)},
	{wire.CodeRepositoryUnreachable, regexp.MustCompile(`connection refused|connection reset|no such host|no route to host|network is unreachable|i/o timeout|timed out|TLS handshake|tls: |x509: |dial (?:tcp|unix)|\(50[0-9]\)|unable to start the sftp session|server misbehaving|broken pipe|error talking HTTP to rclone`)},
	{wire.CodePermissionDenied, regexp.MustCompile(`permission denied|operation not permitted|read-only file system`)},
}

// classify finds the rule for a text and the line that it fits; ok is false when none does.
func classify(lines []string) (code, line string, ok bool) {
	for _, r := range rules {
		for _, l := range lines {
			if r.text.MatchString(l) {
				return r.code, l, true
			}
		}
	}
	return "", "", false
}

// Holder is who holds a lock of the repository, as restic tells it.
type Holder struct {
	PID       int    `json:"pid"`
	Hostname  string `json:"hostname"`
	User      string `json:"user"`
	Exclusive bool   `json:"exclusive"`
	CreatedAt string `json:"created_at"` // the holder's local time, as restic prints it
	Age       string `json:"age"`        // a duration as Go prints it
}

var (
	lockHolder  = regexp.MustCompile(`repository is already locked (exclusively )?by PID (\d{1,18}) on (\S+) by (\S*)`)
	lockCreated = regexp.MustCompile(`lock was created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \(([0-9a-zµ.-]+) ago\)`)
)

// parseHolder finds the holder of a lock in restic's words.
func parseHolder(text string) (Holder, bool) {
	m := lockHolder.FindStringSubmatch(text)
	if m == nil {
		return Holder{}, false
	}
	pid, err := strconv.Atoi(m[2])
	if err != nil {
		return Holder{}, false
	}
	h := Holder{PID: pid, Hostname: clean(m[3], 255), User: clean(m[4], 255), Exclusive: m[1] != ""}
	if c := lockCreated.FindStringSubmatch(text); c != nil {
		h.CreatedAt, h.Age = c[1], c[2]
	}
	return h, true
}

// String is the holder for people.
func (h Holder) String() string {
	s := "PID " + strconv.Itoa(h.PID) + " on " + h.Hostname + " by " + h.User
	if age, err := time.ParseDuration(h.Age); err == nil {
		s += ", locked " + age.Round(time.Second).String() + " ago"
	}
	if h.Exclusive {
		s += ", exclusively"
	}
	return s
}

// exitCode is the meaning of an exit code in a version, empty where only the words tell. Source: restic
// doc, "Exit codes", and cmd/restic/main.go of each version.
func exitCode(v Version, code int) string {
	switch {
	case code == 10 && v.AtLeast(17, 0):
		return wire.CodeRepositoryMissing
	case code == 11 && v.AtLeast(17, 0):
		return wire.CodeRepositoryLocked
	case code == 12 && v.AtLeast(17, 1):
		return wire.CodeWrongPassword
	case code == 2: // Go's own, for a panic
		return wire.CodeCrashed
	case code == 130:
		return wire.CodeInterrupted
	}
	return ""
}

var (
	// interrupted is what restic says when a signal came that it handles.
	interrupted = regexp.MustCompile(`signal (?:interrupt|terminated) received, cleaning up`)
	// transient is a failure that restic retries, or the last of those retries.
	transient = regexp.MustCompile(`^[A-Za-z]+\(<?[^)]*\) (?:returned error, retrying after|failed: |operation successful after)`)
	// noise says nothing about why restic failed: stack traces and remarks.
	noise = regexp.MustCompile(`^(?:\s|main\.|runtime\.|github\.com/|golang\.org/|Warning: |using parent |Is there a repository at|signal |goroutine )|^$`)
)

// firstLine is the message without restic's own marks of fatal errors and without what follows its first
// line: a stack trace, or the location.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ReplaceAll(s, "Fatal: ", "")
}

// sentence joins restic's words and the advice for their code.
func sentence(code, words string) string {
	a := advice[code]
	if words == "" {
		words = "restic failed without saying why"
	}
	if a == "" {
		return clean(words, maxMessage)
	}
	return clean(words, maxMessage-len(a)-2) + "; " + a
}
