package vault

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/armor"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// minPassphrase is the shortest passphrase of a kit, in characters.
const minPassphrase = 12

// kitWork is scrypt's work factor: 2^16, 64 MiB for a moment, which a small server has too.
const kitWork = 16

// CheckPassphrase is an invalid fault for a passphrase that is too short for a kit.
func CheckPassphrase(p string) error {
	if !utf8.ValidString(p) || utf8.RuneCountInString(strings.TrimSpace(p)) < minPassphrase {
		return fault.Invalidf("passphrase: give %d characters or more", minPassphrase)
	}
	return nil
}

// Kit is a file to be kept away from the server. Sealed is an age file in its printable form, opened by the passphrase
// alone; its text is to be printed or followed.
type Kit struct {
	Name   string // of the file
	Sealed []byte
}

// Kit writes what somebody needs who has restic, the kit and its passphrase, and no server. What opens the repository
// must not have changed while it was made.
func (s *Store) Kit(ctx context.Context, actor database.Actor, id, passphrase string) (Kit, error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return Kit{}, err
	}
	row, hosts, err := s.readForKit(ctx, id)
	if err != nil {
		return Kit{}, err
	}
	secrets, err := s.open(row)
	if err != nil {
		return Kit{}, err
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return Kit{}, err
	}
	sealed, err := s.sealKit(ctx, passphrase, kitText(row, hosts, secrets, now))
	if err != nil {
		return Kit{}, fmt.Errorf("seal the recovery kit of repository %s: %w", id, err)
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		is, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		if !is.SecretsChangedAt.Equal(row.SecretsChangedAt) {
			return fault.New(fault.Conflict, "changed_meanwhile", "the repository was changed at the same moment; make the kit again")
		}
		if err := tx.Exec("UPDATE repository_settings SET kit_made_at = ? WHERE id = ?", tx.Now, id).Error; err != nil {
			return err
		}
		tx.Notify(database.TopicRepositories)
		return tx.Audit(actor, "repository.kit", "repository:"+id, map[string]any{"name": row.Name})
	})
	if err != nil {
		return Kit{}, fmt.Errorf("note the recovery kit of repository %s: %w", id, err)
	}
	return Kit{Name: kitName(row.Name), Sealed: sealed}, nil
}

func kitName(repository string) string {
	name := folder(repository)
	if name == "" {
		name = "repository"
	}
	return "recovery-kit-" + name + ".age"
}

func (s *Store) readForKit(ctx context.Context, id string) (row settingRow, hosts []RepositoryHost, err error) {
	if !wire.IsUUID(id) {
		return row, nil, errNoRepository
	}
	var rows []settingRow
	if err := s.db.Read(ctx).Raw("SELECT * FROM repository_settings WHERE id = ?", id).Scan(&rows).Error; err != nil {
		return row, nil, fmt.Errorf("read repository %s: %w", id, err)
	}
	if len(rows) == 0 {
		return row, nil, errNoRepository
	}
	hosts, err = s.Hosts(ctx, id)
	return rows[0], hosts, err
}

func (s *Store) sealKit(ctx context.Context, passphrase, text string) ([]byte, error) {
	select {
	case s.kits <- struct{}{}:
		defer func() { <-s.kits }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(s.kitWork)
	var out bytes.Buffer
	printable := armor.NewWriter(&out)
	w, err := age.Encrypt(printable, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := printable.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// kitText is the kit: prose behind #, and commands that a shell takes as they are.
func kitText(row settingRow, hosts []RepositoryHost, secrets Secrets, now time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Recovery kit of the restic repository %q, made %s", row.Name, now.UTC().Format("2006-01-02 15:04 UTC"))
	line("#")
	line("# With this and restic (https://restic.net) the data can be read on any machine, without the server")
	line("# that made this file. Whoever reads it can read all the data: keep it offline, print it, lock it away.")
	line("# Lines without # are commands for a shell; set the variables first.")
	line("")
	line("# What opens it")
	line("export RESTIC_PASSWORD=%s", quoted(secrets.Password))
	writeEnv(line, "", secrets.Env)
	if len(secrets.MaintenanceEnv) > 0 {
		line("")
		line("# Credentials that may also remove, for prune and forget, in place of those above. Reading needs none of them.")
		writeEnv(line, "# ", secrets.MaintenanceEnv)
	}
	line("")
	if perHost(row.URL) {
		line("# Where it is: one repository for each machine. Choose one.")
		for _, h := range hosts {
			line("# %s", h.Name)
			line("export RESTIC_REPOSITORY=%s", quoted(h.URL))
		}
		if len(hosts) == 0 {
			line("# No machine uses it yet; {host} stands for the name of each.")
			line("# export RESTIC_REPOSITORY=%s", quoted(row.URL))
		}
	} else {
		line("# Where it is")
		line("export RESTIC_REPOSITORY=%s", quoted(row.URL))
		if len(hosts) > 0 {
			line("# It holds the backups of these machines; --host NAME chooses one in the commands below:")
		}
		for _, h := range hosts {
			line("# %s", h.Name)
		}
	}
	line("")
	line("# List what is there")
	line("restic snapshots")
	line("")
	line("# Get the newest backup back, into a new folder. In place of latest give an id of the list;")
	line("# --include PATH takes a part of it.")
	line("restic restore latest --target restored")
	return b.String()
}

func writeEnv(line func(string, ...any), before string, env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		line("%sexport %s=%s", before, k, quoted(env[k]))
	}
}

// quoted is text as a shell takes it literally (POSIX, section 2.2.2).
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
