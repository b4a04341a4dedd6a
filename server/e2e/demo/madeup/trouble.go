package madeup

import (
	"strings"

	"restic-manager/shared/wire"
)

// trouble is a way in which a backup ends without success. The words are those of restic and of the agent: NAME, HOST
// and SITE stand for the machine's.
type trouble struct {
	code    string
	state   wire.State
	exit    int // restic's; -1: it has none
	part    float64
	message string
}

var troubles = []trouble{
	{wire.CodeRepositoryUnreachable, wire.StateFailed, 1, 0.05, "Fatal: unable to open config file: Head \"https://rest.SITE.example.net/NAME/config\": dial tcp 198.51.100.24:443: connect: connection refused; check the repository's address, the network and the certificate"},
	{wire.CodeNoSpace, wire.StateFailed, 1, 0.7, "Fatal: unable to save snapshot: server response unexpected: 507 Insufficient Storage (507); make room where the repository is, or raise its quota"},
	{wire.CodeWrongPassword, wire.StateFailed, 12, 0.02, "Fatal: wrong password or no key found; check the repository's password (repo_password in agent.yaml, or the repository's settings on the server)"},
	{wire.CodeRepositoryLocked, wire.StateFailed, 11, 0.03, "the repository is locked by PID 24117 on nas-SITE-001 by root, locked 9h41m12s ago, exclusively; wait for its holder; when that program is dead, run an unlock job on its host"},
	{wire.CodeTimeLimit, wire.StateFailed, 130, 1, "the job's time limit was reached; restic was interrupted; raise the limit, or see in the log what took so long"},
	{wire.CodeRepositoryDamaged, wire.StateFailed, 1, 0.3, "Fatal: pack 5c1d0f7be2a94a6d1f0c3b7e8d2f4a5960718293a4b5c6d7e8f90a1b2c3d4e5f: does not exist; do not prune; read restic's words in the log and its documentation on repairing a repository"},
	{wire.CodePermissionDenied, wire.StateFailed, 1, 0.1, "Fatal: unable to open repository at s3:https://s3.SITE.example.net/backup/NAME: Stat: Access Denied. (403 Forbidden); check the credentials and the rights there; an append-only repository refuses to delete"},
	{wire.CodeInterrupted, wire.StateFailed, 130, 0.5, "restic was interrupted by a signal this agent did not send; start the job again"},
	{wire.CodeSourceMissing, wire.StateFailed, 1, 0.02, "Fatal: all source directories/files do not exist; correct the paths, or mount what holds them"},
	{wire.CodePreflight, wire.StateRejected, -1, 0, "the preparations took longer than a minute: is the repository reachable? Look at the agent's log, then retry the job"},
	{wire.CodeGuard, wire.StateRejected, -1, 0, "the guard of HOST does not allow backups of /srv/www: backup.allow in /etc/restic-manager/guard.yaml names /etc, /var/lib"},
	{wire.CodeCrashed, wire.StateFailed, 2, 0.6, "restic was ended by a signal this agent did not send (killed); see the host's own log, for example for a lack of memory"},
}

// rareTroubles befall only those machines that they are dealt to.
var rareTroubles = []trouble{
	{wire.CodeResticMissing, wire.StateRejected, -1, 0, "there is no restic in /usr/local/bin:/usr/bin:/bin; install restic 0.14.0 or newer, or set restic_path in the agent's configuration"},
	{wire.CodeGuardBroken, wire.StateRejected, -1, 0, "/etc/restic-manager/guard.yaml, line 7: unknown key backups: use backup; until that is mended everything is refused"},
	{wire.CodeRepositoryMissing, wire.StateFailed, 10, 0.01, "Fatal: repository does not exist: unable to open config file: stat /mnt/backup/NAME/config: no such file or directory; check the repository's location, or make the repository with an init job"},
	{wire.CodeSilent, wire.StateLost, -1, 1, "the host has not been heard for 7 days; a late result is still taken"},
	{wire.CodeExpired, wire.StateExpired, -1, 0, "the host did not fetch the job in time; see whether its agent runs, then retry"},
	{wire.CodeCanceled, wire.StateCanceled, 130, 0.4, "canceled; restic was interrupted"},
}

// troubleOf is the one with that code.
func troubleOf(code string) trouble {
	for _, list := range [][]trouble{troubles, rareTroubles} {
		for _, t := range list {
			if t.code == code {
				return t
			}
		}
	}
	panic("no trouble has the code " + code)
}

// words are the message for a machine.
func (t trouble) words(m *machine) string {
	return strings.NewReplacer("NAME", m.name, "HOST", m.hostname, "SITE", m.site).Replace(t.message)
}

var unreadable = []wire.Issue{
	{Path: "/var/lib/app/cache/session.lock", Message: "open /var/lib/app/cache/session.lock: permission denied"},
	{Path: "/home/NAME/.cache/mozilla/lock", Message: "lstat /home/NAME/.cache/mozilla/lock: no such file or directory"},
	{Path: "/srv/www/uploads/.~tmp-4f1c", Message: "read /srv/www/uploads/.~tmp-4f1c: input/output error"},
	{Path: "/var/log/journal/system.journal", Message: "open /var/log/journal/system.journal: permission denied"},
	{Path: "/var/lib/postgresql/dump/base.tar.gz.part", Message: "/var/lib/postgresql/dump/base.tar.gz.part: file truncated while it was read"},
}
