package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/checkup"
)

// askLimit is how long the database may take to answer.
const askLimit = 20 * time.Second

// database connects, and asks what it is.
func (d *doctor) database(ctx context.Context) checkup.Result {
	if d.NoStorage {
		return checkup.Skip("not tried: settings come first")
	}
	s := d.Settings
	source := s.Source()
	var exposed checkup.Result
	if s.SQLite() {
		info, err := os.Stat(source)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return checkup.Fail("name the server's folder by --data-dir; a new server makes its database when it starts", "there is none at %s", source)
		case err != nil:
			return checkup.Fail("run doctor as the server's user, or as root", "%v", err)
		case info.Mode().Perm()&0o007 != 0 && reachable(filepath.Dir(source)):
			exposed = checkup.Fail("chmod 0600 "+source, "everybody on this machine may open %s (mode %04o)", source, info.Mode().Perm())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	db, err := database.Open(ctx, database.Options{URL: source, MaxConnections: 2, ReadOnly: true})
	if err != nil {
		hint := "see that PostgreSQL runs and lets this machine in (pg_hba.conf), and the URL's user, password and database"
		if s.SQLite() {
			hint = "run doctor as the server's user, or as root; is the disk well?"
		}
		return checkup.Fail(hint, "%v", err)
	}
	d.db = db
	began := d.Now()
	about, err := db.About(ctx)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	if exposed.State != "" {
		return exposed
	}
	engine := map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"}[about.Engine]
	return checkup.Ok("%s %s, %s, %s (answers within %d ms)", engine, about.Version, size(about.SizeBytes), database.Redact(source), d.Now().Sub(began).Milliseconds())
}

// reachable reports whether everybody may go into a folder.
func reachable(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode().Perm()&0o001 != 0
}

func (d *doctor) noDatabase() (checkup.Result, bool) {
	if d.db == nil {
		return checkup.Skip("not tried: database comes first"), true
	}
	return checkup.Result{}, false
}

func (d *doctor) schemaState(ctx context.Context) checkup.Result {
	if r, no := d.noDatabase(); no {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	there, err := d.db.HasSchema(ctx)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	if !there {
		return checkup.Warn("start the server, or restic-manager migrate up", "the database is empty: no server has worked on it yet")
	}
	if err := d.db.CheckSchema(ctx); err != nil {
		return checkup.Fail("serve brings an older schema up to date when it starts; for a newer one install that version again", "%v", err)
	}
	version, err := d.db.SchemaVersion(ctx)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	d.schema = true
	return checkup.Ok("up to date, step %d", version)
}

func (d *doctor) noSchema() (checkup.Result, bool) {
	if r, no := d.noDatabase(); no {
		return r, true
	}
	if !d.schema {
		return checkup.Skip("not tried: schema comes first"), true
	}
	return checkup.Result{}, false
}

// encryptionKey looks whether the key can be read by its owner alone, and is the one that the database was made with.
func (d *doctor) encryptionKey(ctx context.Context) checkup.Result {
	if d.NoStorage {
		return checkup.Skip("not tried: settings come first")
	}
	file := d.Settings.KeyFile
	key, err := config.ReadKey(file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return checkup.Fail("without it nobody can open the repository passwords in the database", "%v", err)
	}
	if r, no := d.noSchema(); no {
		if missing {
			return checkup.Skip("there is none at %s yet", file)
		}
		r.Detail = fmt.Sprintf("%s can be used; whether it is the database's is not known", file)
		return r
	}
	if missing {
		key = make([]byte, fleet.KeySize) // fits none: asked for whether there is one to miss
	}
	fits, known, err := fleet.KeyFits(ctx, d.db, key)
	switch {
	case err != nil:
		return checkup.Fail("see the database's log", "%v", err)
	case missing && known:
		return checkup.Fail("put its copy there: without it the repository passwords in the database are lost", "there is none at %s, and the database was made with one", file)
	case missing:
		return checkup.Skip("there is none at %s yet: the first start makes it", file)
	case known && !fits:
		return checkup.Fail("put the copy of the right one there, or name it by --key-file", "%s is not the key that the database was made with", file)
	}
	d.key = key
	return checkup.Ok("%s, for its owner alone, is the database's", file)
}

const (
	leastFree = 100 << 20
	soonFull  = 1 << 30
)

// disk looks at the room where the database is, as far as it is on this machine.
func (d *doctor) disk(context.Context) checkup.Result {
	if d.NoStorage {
		return checkup.Skip("not tried: settings come first")
	}
	if !d.Settings.SQLite() {
		return checkup.Skip("the database is PostgreSQL's: see the disk of its machine")
	}
	dir := filepath.Dir(d.Settings.Source())
	left, err := d.Free(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkup.Skip("there is no folder %s", dir)
	case err != nil:
		return checkup.Fail("see the disk", "the room in %s cannot be told: %v", dir, err)
	case left < leastFree:
		return checkup.Fail("free some space now: a full disk stops every job's report", "only %s free in %s", size(int64(left)), dir)
	case left < soonFull:
		return checkup.Warn("free some space, or keep logs for a shorter time (log-keep)", "%s free in %s", size(int64(left)), dir)
	}
	return checkup.Ok("%s free in %s", size(int64(left)), dir)
}

// clock compares this machine's with the one that decides.
func (d *doctor) clock(ctx context.Context) checkup.Result {
	if r, no := d.noDatabase(); no {
		return r
	}
	if !d.db.Postgres() {
		return checkup.Skip("SQLite goes by this machine's own")
	}
	sent := d.Now()
	now, err := d.db.Now(ctx)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	off := now.Sub(sent.Add(d.Now().Sub(sent) / 2).Round(0)).Abs().Round(time.Second)
	if off > 5*time.Second {
		return checkup.Warn("set both: timedatectl set-ntp true. The database's decides what is due, and agents compare theirs with it", "this machine's clock and the database's are %s apart", off)
	}
	return checkup.Ok("as the database's")
}

// invariants are what the server checks hourly.
func (d *doctor) invariants(ctx context.Context) checkup.Result {
	if r, no := d.noSchema(); no {
		return r
	}
	d.wait("invariants: some seconds on a large database")
	broken, err := fleet.Broken(ctx, d.db)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	if n := len(broken); n > 0 {
		return checkup.Fail("please report it, with the server's log; is something else writing to the database?", "%d rows break a promise, the first: %s: %s", n, broken[0].Rule, broken[0].Detail)
	}
	return checkup.Ok("all hold")
}

// sweptLate is four sweeps.
const sweptLate = time.Minute

// sweeper looks when a server last judged silence; it does so every 15 s.
func (d *doctor) sweeper(ctx context.Context) checkup.Result {
	if r, no := d.noSchema(); no {
		return r
	}
	last, err := fleet.LastSweep(ctx, d.db)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	now, err := d.db.Now(ctx)
	if err != nil {
		return checkup.Fail("see the database's log", "%v", err)
	}
	ago := now.Sub(last).Round(time.Second)
	switch {
	case last.IsZero() && !d.up:
		return checkup.Skip("no server has worked on this database yet")
	case last.IsZero():
		return checkup.Warn("ask again in half a minute", "no server has looked yet for what is silent or due")
	case ago > sweptLate && !d.up:
		return checkup.Fail("start the server", "nobody has looked for what is silent or due for %s", ago)
	case ago > sweptLate:
		return checkup.Fail("see the server's log: it answers and does not do its duties", "the server last looked for what is silent or due %s ago", ago)
	}
	return checkup.Ok("last ran %s ago", max(ago, 0))
}

func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
