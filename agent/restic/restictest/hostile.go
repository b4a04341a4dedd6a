// Package restictest makes hostile orders, for the tests of all that must withstand them.
package restictest

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"

	"restic-manager/shared/wire"
)

// Vectors are values that made restic run a command or write a file when they reached its command line or
// environment as arguments; CANARY stands for the file.
func Vectors(canary string) []string {
	l := []string{
		"--password-command=touch CANARY",
		"--password-command=touch CANARY\n",
		"-o sftp.command=touch CANARY",
		"-osftp.args=-oProxyCommand=touch CANARY",
		"--option=rclone.program=touch CANARY",
		"--stdin-from-command",
		"--from-password-command=touch CANARY",
		"--bash-completion=CANARY",
		"--target=CANARY",
		"rclone::webdav,url='http://127.0.0.1:1',bearer_token_command='touch CANARY':x",
		"sftp:-oProxyCommand=touch CANARY:/x",
		"RCLONE_CONFIG_X_BEARER_TOKEN_COMMAND=touch CANARY",
		"RESTIC_PASSWORD_COMMAND=touch CANARY",
		"AWS_SHARED_CREDENTIALS_FILE=CANARY",
		"GOOGLE_APPLICATION_CREDENTIALS=CANARY",
	}
	for n := range l {
		l[n] = strings.ReplaceAll(l[n], "CANARY", canary)
	}
	return l
}

// vectorID is the id of no snapshot.
const vectorID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Placed puts one value into every field of every spec where the server could send it.
func Placed(v string) []wire.Spec {
	rooted := path.Clean("/" + v)
	return []wire.Spec{
		&wire.BackupSpec{Paths: []string{v}}, &wire.BackupSpec{Paths: []string{"/"}, Excludes: []string{v}}, &wire.BackupSpec{Paths: []string{"/"}, Tags: []string{v}},
		&wire.BackupSpec{Paths: []string{rooted, "/etc/hostname"}}, &wire.BackupSpec{Paths: []string{rooted + "\n" + v}},
		&wire.BackupSpec{Paths: []string{"/"}, HooksBefore: []string{v}}, &wire.BackupSpec{Paths: []string{"/"}, HooksAfter: []string{v}},
		&wire.BackupSpec{StdinHook: v, StdinName: "x"}, &wire.BackupSpec{StdinHook: "dump", StdinName: v},
		&wire.RestoreSpec{SnapshotID: v}, &wire.RestoreSpec{SnapshotID: vectorID, Paths: []string{v}}, &wire.RestoreSpec{SnapshotID: vectorID, Paths: []string{rooted}},
		&wire.RestoreSpec{SnapshotID: vectorID, Target: v}, &wire.CheckSpec{ReadDataSubset: v}, &wire.ForgetSpec{SnapshotIDs: []string{v}}, &wire.ForgetSpec{SnapshotIDs: []string{vectorID, v}},
	}
}

var fragments = []string{"--password-command=touch CANARY", "-o", "sftp.command=touch CANARY", "-osftp.args=-oProxyCommand=CANARY", "--option=rclone.program=CANARY", "--stdin-from-command", "touch", "CANARY",
	"$(touch CANARY)", "`touch CANARY`", ";touch CANARY;", "|touch CANARY", "&&touch CANARY", "\n--password-command=touch CANARY\n", "\x00", " ", "'", `"`, "$HOME", "${IFS}", "$", "$$", "/", "/..", "..", "%2e", "\u202e",
	"ü", "\xff", "--files-from=/etc/passwd", "--exclude-file=/etc/passwd", "--target=CANARY", "--bash-completion=CANARY", "generate", "--", "-", "=", "@", "latest", ":/", "#", "!", "*", "[", "[a]", "]", `\`, "\r", "\t",
	"a", "etc", "1", "0", vectorID}

// Generate makes one spec at random, most of them nearly right.
func Generate(r *rand.Rand, canary string) wire.Spec {
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString(strings.ReplaceAll(fragments[r.IntN(len(fragments))], "CANARY", canary))
		}
		return b.String()
	}
	file := func() string {
		if r.IntN(8) == 0 {
			return text()
		}
		return path.Clean("/" + text())
	}
	list := func(f func() string) (l []string) {
		for range r.IntN(4) {
			l = append(l, f())
		}
		return l
	}
	id := func() string {
		if r.IntN(8) == 0 {
			return text()
		}
		return fmt.Sprintf("%064x", r.Uint64())
	}
	tag := func() string {
		if r.IntN(2) == 0 {
			return text()
		}
		return fmt.Sprintf("t:%d", r.IntN(100))
	}
	percent := r.IntN(110) - 3
	switch r.IntN(10) {
	case 9:
		return &wire.BackupSpec{StdinHook: tag(), StdinName: tag(), HooksBefore: list(tag), HooksAfter: list(tag), HookTimeLimitSeconds: int64(r.IntN(100) - 2), Tags: list(tag)}
	case 0, 1, 2, 3:
		return &wire.BackupSpec{Paths: append(list(file), file()), Excludes: list(text), ExcludeCaches: r.IntN(2) == 0, OneFileSystem: r.IntN(2) == 0, Tags: list(tag), DryRun: r.IntN(2) == 0,
			UploadLimitKiB: r.IntN(100) - 2, ExcludeLargerThan: int64(r.IntN(100) - 2),
			DownloadLimitKiB: r.IntN(100) - 2, CPUNice: r.IntN(23) - 2, IOClass: wire.IOClass([]string{"", "low", "idle", "x"}[r.IntN(4)])}
	case 4, 5:
		return &wire.RestoreSpec{SnapshotID: id(), Paths: list(file), Target: tag(), Verify: r.IntN(2) == 0}
	case 6:
		return &wire.CheckSpec{ReadData: r.IntN(9) == 0, ReadDataSubset: []string{"", "1/3", "5%", text()}[r.IntN(4)]}
	case 7:
		return &wire.PruneSpec{MaxUnusedPercent: &percent, DryRun: r.IntN(2) == 0}
	}
	return &wire.ForgetSpec{SnapshotIDs: append(list(id), id()), DryRun: r.IntN(2) == 0}
}
