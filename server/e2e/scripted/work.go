package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// work does what the command is for, and answers.
func (p *play) work() int {
	if p.command == "version" {
		p.answer("restic 0.18.0 compiled with go1.24.4 on linux/amd64")
		return 0
	}
	r, err := openRepository()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripted restic:", err)
		return 1
	}
	if p.command == "init" {
		return p.initialize(r)
	}
	id, err := r.id()
	if errors.Is(err, fs.ErrNotExist) {
		return p.fails(10, fmt.Sprintf("repository does not exist: unable to open config file: stat %s: no such file or directory\nIs there a repository at the following location?\n%s", r.config(), r.dir))
	}
	if err == nil {
		err = p.on(r, id)
	}
	if err != nil {
		return p.fails(1, err.Error())
	}
	return p.act.Exit
}

// on runs a command on a repository that is there.
func (p *play) on(r repository, id string) error {
	switch p.command {
	case "config":
		p.answer(fmt.Sprintf("{\n  \"version\": 2,\n  \"id\": %q,\n  \"chunker_polynomial\": \"39ef6d4e669b11\"\n}", id))
	case "locks", "unlock":
		p.answer("")
	case "backup":
		return p.backup(r)
	case "snapshots":
		return p.snapshots(r)
	case "forget":
		return p.forget(r)
	case "check":
		p.answer(`{"message_type":"summary","num_errors":0,"broken_packs":null,"suggest_repair_index":false,"suggest_prune":false}`)
	case "prune":
		p.answer("loading indexes...\nloading all snapshots...\n\nto delete:             0 blobs / 0 B\ntotal prune:           0 blobs / 0 B\n\ndone")
	case "restore":
		return p.restore(r)
	default:
		return fmt.Errorf("unknown command %q for \"restic\"", p.command)
	}
	return nil
}

// repository is a folder with an id and a list.
type repository struct{ dir string }

func openRepository() (repository, error) {
	dir := os.Getenv("RESTIC_REPOSITORY")
	if !filepath.IsAbs(dir) {
		return repository{}, fmt.Errorf("the repository %q is no folder", dir)
	}
	return repository{dir}, nil
}

func (r repository) config() string { return filepath.Join(r.dir, "config") }

func (r repository) id() (string, error) {
	b, err := os.ReadFile(r.config())
	return string(b), err
}

func (p *play) initialize(r repository) int {
	if _, err := r.id(); err == nil {
		return p.fails(1, fmt.Sprintf("create repository at %s failed: Fatal: unable to open repository at %s: config file already exists\n", r.dir, r.dir))
	}
	id := randomID()
	if err := errors.Join(os.MkdirAll(r.dir, 0o700), os.WriteFile(r.config(), []byte(id), 0o600)); err != nil {
		return p.fails(1, err.Error())
	}
	p.answer(fmt.Sprintf(`{"message_type":"initialized","id":%q,"repository":%q}`, id, r.dir))
	return 0
}

func randomID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// change edits the list of snapshots, one line of JSON each, while no other run does.
func (r repository) change(edit func(list [][]byte) [][]byte) error {
	lock, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	list, err := r.list()
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, "list")
	if err := os.WriteFile(path+".tmp", bytes.Join(append(edit(list), nil), []byte("\n")), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func (r repository) list() ([][]byte, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, "list"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list [][]byte
	for line := range bytes.Lines(b) {
		list = append(list, bytes.TrimSuffix(line, []byte("\n")))
	}
	return list, err
}

// snapshot is an entry of the list, with restic's fields.
type snapshot struct {
	Time     time.Time       `json:"time"`
	Tree     string          `json:"tree"`
	Paths    []string        `json:"paths"`
	Hostname string          `json:"hostname"`
	Username string          `json:"username"`
	Tags     []string        `json:"tags,omitempty"`
	Program  string          `json:"program_version"`
	Summary  json.RawMessage `json:"summary"`
	ID       string          `json:"id"`
	ShortID  string          `json:"short_id"`
}

func (p *play) backup(r repository) error {
	if len(p.act.Issues) > 0 {
		p.act.Exit = 3
	}
	for _, path := range p.act.Issues {
		fmt.Fprintf(os.Stderr, `{"message_type":"error","error":{"message":%s},"during":"archival","item":%s}`+"\n", quoted("open "+path+": permission denied"), quoted(path))
	}
	now := time.Now()
	counts := fmt.Sprintf(`"files_new":%d,"files_changed":0,"files_unmodified":0,"dirs_new":1,"dirs_changed":0,"dirs_unmodified":0,"data_blobs":%d,"tree_blobs":1,"data_added":%d,"data_added_packed":%d,"total_files_processed":%d,"total_bytes_processed":%d`,
		p.files(), p.files(), p.bytes(), p.bytes(), p.files(), p.bytes())
	span := fmt.Sprintf(`"backup_start":%q,"backup_end":%q`, p.began.UTC().Format(time.RFC3339Nano), now.UTC().Format(time.RFC3339Nano))
	s := snapshot{Time: p.began.UTC(), Tree: randomID(), Hostname: p.flag("host"), Username: "root", Tags: p.flags["tag"],
		Program: "restic 0.18.0", Summary: json.RawMessage("{" + span + "," + counts + "}"), ID: randomID()}
	s.ShortID = s.ID[:8]
	paths, err := os.ReadFile(p.flag("files-from-raw"))
	if err != nil {
		return err
	}
	s.Paths = strings.Split(strings.TrimSuffix(string(paths), "\x00"), "\x00")
	if _, dry := p.flags["dry-run"]; !dry {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := r.change(func(list [][]byte) [][]byte { return append(list, line) }); err != nil {
			return err
		}
	}
	p.answer(fmt.Sprintf(`{"message_type":"summary",%s,"total_duration":%g,%s,"snapshot_id":%q}`, counts, now.Sub(p.began).Seconds(), span, s.ID))
	if p.act.Exit == 3 {
		p.out.Flush()
		fmt.Fprintln(os.Stderr, `{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}`)
	}
	return nil
}

// quoted is text as a string of JSON.
func quoted(text string) []byte {
	b, _ := json.Marshal(text)
	return b
}

func (p *play) flag(name string) string {
	if v := p.flags[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (p *play) snapshots(r repository) error {
	list, err := r.list()
	if err != nil {
		return err
	}
	if _, latest := p.flags["latest"]; latest && len(list) > 1 {
		list = list[len(list)-1:]
	}
	p.answer("[" + string(bytes.Join(list, []byte(","))) + "]")
	return nil
}

func (p *play) forget(r repository) error {
	if _, dry := p.flags["dry-run"]; dry {
		return nil
	}
	return r.change(func(list [][]byte) [][]byte {
		return slices.DeleteFunc(list, func(line []byte) bool {
			return slices.ContainsFunc(p.args, func(id string) bool { return has(line, id) })
		})
	})
}

func has(line []byte, id string) bool {
	var s snapshot
	return json.Unmarshal(line, &s) == nil && strings.HasPrefix(s.ID, id)
}

func (p *play) restore(r repository) error {
	list, err := r.list()
	if err != nil {
		return err
	}
	if len(p.args) != 1 || !slices.ContainsFunc(list, func(line []byte) bool { return has(line, p.args[0]) }) {
		return fmt.Errorf("failed to find snapshot: no matching ID found for prefix %q", p.args)
	}
	if err := os.WriteFile(filepath.Join(p.flag("target"), "restored"), []byte(p.args[0]), 0o600); err != nil {
		return err
	}
	p.answer(`{"message_type":"summary","total_files":1,"files_restored":1,"total_bytes":64,"bytes_restored":64}`)
	return nil
}
