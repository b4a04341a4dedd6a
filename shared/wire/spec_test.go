package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const anID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func long(n int) string { return strings.Repeat("x", n) }

func numbered(n int, format string) []string {
	var l []string
	for i := range n {
		l = append(l, fmt.Sprintf(format, i))
	}
	return l
}

func percent(n int) *int { return &n }

func TestSpecsThatMayRun(t *testing.T) {
	for name, s := range map[string]Spec{
		"backup of a path":             &BackupSpec{Paths: []string{"/home"}},
		"backup of the root":           &BackupSpec{Paths: []string{"/"}},
		"paths like flags":             &BackupSpec{Paths: []string{"/--password-command=touch x", "/a -b", "/a\nb", "/ü$x*"}},
		"as many as allowed":           &BackupSpec{Paths: numbered(1000, "/%d"), Excludes: numbered(1000, "%d"), Tags: numbered(50, "t%d")},
		"a path of the longest length": &BackupSpec{Paths: []string{"/" + long(4095)}},
		"excludes of all kinds": &BackupSpec{Paths: []string{"/"}, Excludes: []string{"*.tmp", "**/cache", "/home/*/.cache", "$RECYCLE.BIN", "${x}", "[#]x", "--x", "-o", "a b",
			"[a-z]?", `\*`, "~x"}},
		"tags":                    &BackupSpec{Paths: []string{"/"}, Tags: []string{"a", "job:1", "x.y_z@h+1-2", long(128)}},
		"limits":                  &BackupSpec{Paths: []string{"/"}, UploadLimitKiB: 1 << 30, ExcludeLargerThan: 1 << 62},
		"limits of newer agents":  &BackupSpec{Paths: []string{"/"}, DownloadLimitKiB: 1 << 30, CPUNice: 19, IOClass: IOClassIdle},
		"restore of all":          &RestoreSpec{SnapshotID: anID},
		"restore of paths":        &RestoreSpec{SnapshotID: anID, Paths: []string{"/a b", "/--x"}, Target: "tuesday.1", Verify: true},
		"check":                   &CheckSpec{},
		"check of a part":         &CheckSpec{ReadDataSubset: "3/256"},
		"check of a share":        &CheckSpec{ReadDataSubset: "100%"},
		"check of all":            &CheckSpec{ReadData: true},
		"prune":                   &PruneSpec{},
		"prune of everything":     &PruneSpec{MaxUnusedPercent: percent(0), DryRun: true},
		"prune of hardly a thing": &PruneSpec{MaxUnusedPercent: percent(100)},
		"forget":                  &ForgetSpec{SnapshotIDs: []string{anID}},
		"init":                    &InitSpec{}, "snapshots": &SnapshotsSpec{}, "unlock": &UnlockSpec{},
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
}

func TestSpecsThatAreRefusedNameTheField(t *testing.T) {
	backup := func(change func(*BackupSpec)) Spec {
		s := &BackupSpec{Paths: []string{"/home"}}
		change(s)
		return s
	}
	exclude := func(e string) Spec { return backup(func(s *BackupSpec) { s.Excludes = []string{e} }) }
	of := func(p ...string) Spec { return &BackupSpec{Paths: p} }
	restore := func(p ...string) Spec { return &RestoreSpec{SnapshotID: anID, Paths: p} }
	for _, c := range []struct {
		field string
		spec  Spec
	}{
		{"paths", of()}, {"paths", of("")}, {"paths", of("relative")}, {"paths", of("--password-command=touch x")}, {"paths", of("-o")},
		{"paths", of("/a/../b")}, {"paths", of("/a/")}, {"paths", of("//a")}, {"paths", of("/a/.")}, {"paths", of("/a\x00b")}, {"paths", of("/\xff")},
		{"paths", of("/" + long(4096))}, {"paths", of("/a", "/b", "/a")}, {"paths", of(numbered(1001, "/%d")...)},
		{"excludes", exclude("")}, {"excludes", exclude(" x")}, {"excludes", exclude("x\t")}, {"excludes", exclude("#x")}, {"excludes", exclude("!x")},
		{"excludes", exclude("a\nb")}, {"excludes", exclude("a\rb")}, {"excludes", exclude("a\x00")}, {"excludes", exclude("\xff")}, {"excludes", exclude("[a")},
		{"excludes", exclude("[a/b]")}, {"excludes", exclude(`x\`)}, {"excludes", exclude("**/[")}, {"excludes", exclude(long(4097))},
		{"excludes", backup(func(s *BackupSpec) { s.Excludes = numbered(1001, "%d") })},
		{"tags", backup(func(s *BackupSpec) { s.Tags = []string{"a,b"} })}, {"tags", backup(func(s *BackupSpec) { s.Tags = []string{"-x"} })},
		{"tags", backup(func(s *BackupSpec) { s.Tags = []string{""} })}, {"tags", backup(func(s *BackupSpec) { s.Tags = []string{"a\n"} })},
		{"tags", backup(func(s *BackupSpec) { s.Tags = []string{long(129)} })}, {"tags", backup(func(s *BackupSpec) { s.Tags = numbered(51, "t%d") })},
		{"download_limit_kib", backup(func(s *BackupSpec) { s.DownloadLimitKiB = -1 })}, {"download_limit_kib", backup(func(s *BackupSpec) { s.DownloadLimitKiB = 1<<30 + 1 })},
		{"cpu_nice", backup(func(s *BackupSpec) { s.CPUNice = -1 })}, {"cpu_nice", backup(func(s *BackupSpec) { s.CPUNice = 20 })}, {"io_class", backup(func(s *BackupSpec) { s.IOClass = "realtime" })},
		{"upload_limit_kib", backup(func(s *BackupSpec) { s.UploadLimitKiB = -1 })}, {"upload_limit_kib", backup(func(s *BackupSpec) { s.UploadLimitKiB = 1<<30 + 1 })},
		{"exclude_larger_than", backup(func(s *BackupSpec) { s.ExcludeLargerThan = -1 })},
		{"snapshot_id", &RestoreSpec{}}, {"snapshot_id", &RestoreSpec{SnapshotID: "latest"}}, {"snapshot_id", &RestoreSpec{SnapshotID: anID[:8]}},
		{"snapshot_id", &RestoreSpec{SnapshotID: strings.ToUpper(anID)}}, {"snapshot_id", &RestoreSpec{SnapshotID: anID + ":/x"}},
		{"snapshot_id", &RestoreSpec{SnapshotID: "--password-command=touch x"}}, {"snapshot_id", &RestoreSpec{SnapshotID: anID + "\n"}},
		{"paths", restore("/a*")}, {"paths", restore("/a?")}, {"paths", restore("/[a]")}, {"paths", restore(`/a\b`)}, {"paths", restore("/\uFFFD")},
		{"paths", restore("a")}, {"paths", restore(numbered(200, "/"+long(3000)+"%d")...)},
		{"target", &RestoreSpec{SnapshotID: anID, Target: "a/b"}}, {"target", &RestoreSpec{SnapshotID: anID, Target: ".."}}, {"target", &RestoreSpec{SnapshotID: anID, Target: "-x"}},
		{"target", &RestoreSpec{SnapshotID: anID, Target: "..."}}, {"target", &RestoreSpec{SnapshotID: anID, Target: "/etc"}},
		{"read_data_subset", &CheckSpec{ReadDataSubset: "0/5"}}, {"read_data_subset", &CheckSpec{ReadDataSubset: "6/5"}}, {"read_data_subset", &CheckSpec{ReadDataSubset: "1/257"}},
		{"read_data_subset", &CheckSpec{ReadDataSubset: "0%"}}, {"read_data_subset", &CheckSpec{ReadDataSubset: "101%"}}, {"read_data_subset", &CheckSpec{ReadDataSubset: "5G"}},
		{"read_data_subset", &CheckSpec{ReadDataSubset: "5%\n"}}, {"read_data_subset", &CheckSpec{ReadData: true, ReadDataSubset: "5%"}},
		{"max_unused_percent", &PruneSpec{MaxUnusedPercent: percent(-1)}}, {"max_unused_percent", &PruneSpec{MaxUnusedPercent: percent(101)}},
		{"snapshot_ids", &ForgetSpec{}}, {"snapshot_ids", &ForgetSpec{SnapshotIDs: []string{"latest"}}}, {"snapshot_ids", &ForgetSpec{SnapshotIDs: []string{anID, "-o"}}},
		{"snapshot_ids", &ForgetSpec{SnapshotIDs: slices.Repeat([]string{anID}, 5001)}},
	} {
		err := c.spec.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Errorf("%.200s: got %v, want an error of %s", fmt.Sprintf("%+v", c.spec), err, c.field)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", c.field, len(err.Error()))
		}
	}
}

func TestDecodeSpecIsStrict(t *testing.T) {
	for raw, want := range map[string]Spec{
		``: &CheckSpec{}, `null`: &CheckSpec{}, `{}`: &CheckSpec{}, ` {"read_data":true} `: &CheckSpec{ReadData: true},
	} {
		got, err := DecodeSpec(KindCheck, json.RawMessage(raw))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{`{"args":["-o"]}`, `{"read_data":true}{}`, `{"read_data":1}`, `[]`, `"x"`, `{`, `{} x`, `{"flags":[]}`, `{"env":{}}`} {
		if got, err := DecodeSpec(KindCheck, json.RawMessage(raw)); err == nil {
			t.Errorf("%s: got %+v, want it refused", raw, got)
		}
	}
	for _, k := range []Kind{"", "mount", "backup ", "Backup", "self-update", "--help"} {
		if _, err := DecodeSpec(k, nil); err == nil {
			t.Errorf("kind %q: want it refused", k)
		}
	}
}

func TestEveryKindHasASpec(t *testing.T) {
	for _, i := range Kinds {
		s, err := NewSpec(i.Kind)
		if err != nil || s.Kind() != i.Kind {
			t.Errorf("%s: got %v, %v", i.Kind, s, err)
		}
	}
}

func TestArgsAreTheAbsolutePathsOfABackupAndNothingElse(t *testing.T) {
	s, err := SpecFromArgs(KindBackup, []string{"/a", "/b"})
	if want := (&BackupSpec{Paths: []string{"/a", "/b"}}); err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
	for _, args := range [][]string{nil, {"--dry-run", "/a"}, {"/a", "-o", "x"}, {"a"}} {
		if _, err := SpecFromArgs(KindBackup, args); err == nil {
			t.Errorf("%q: want it refused", args)
		}
	}
	for _, i := range Kinds {
		if _, err := SpecFromArgs(i.Kind, []string{"/a"}); (err == nil) != (i.Kind == KindBackup) {
			t.Errorf("%s: got %v", i.Kind, err)
		}
	}
}

func TestRepositoryEnvIsAClosedList(t *testing.T) {
	all := map[string]string{}
	for _, k := range RepositoryEnvKeys {
		all[k] = "value -with $(anything) in it"
		for _, bad := range []string{"COMMAND", "FILE", "PATH", "RCLONE", "LD_", "PROXY", "PROGRAM", "CREDENTIALS", "RESTIC_PASSWORD"} {
			if strings.Contains(k, bad) {
				t.Errorf("%s names a program, a file or a secret that is not the backend's", k)
			}
		}
	}
	if err := CheckRepositoryEnv(all); err != nil {
		t.Errorf("the whole list: got %v", err)
	}
	for _, k := range []string{"", "PATH", "LD_PRELOAD", "RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND", "RCLONE_CONFIG_X_TYPE", "AWS_SHARED_CREDENTIALS_FILE",
		"GOOGLE_APPLICATION_CREDENTIALS", "HTTPS_PROXY", "aws_access_key_id", "AWS_ACCESS_KEY_ID=x", "RESTIC_REPOSITORY", "RESTIC_FEATURES"} {
		if err := CheckRepositoryEnv(map[string]string{k: "x"}); err == nil {
			t.Errorf("%q: want it refused", k)
		}
	}
	for _, v := range []string{"a\x00b", "a\nb", "a\rb", long(4097)} {
		err := CheckRepositoryEnv(map[string]string{"AWS_SECRET_ACCESS_KEY": v})
		if err == nil || strings.Contains(err.Error(), v) {
			t.Errorf("%.20q: got %v, want it refused without its value", v, err)
		}
	}
}

func TestRepositoryPasswordIsWhatResticReads(t *testing.T) {
	for _, p := range []string{"x", "correct horse battery staple", "pässwörd\t!", long(4096)} {
		if err := CheckRepositoryPassword(p); err != nil {
			t.Errorf("%.20q: got %v", p, err)
		}
	}
	for _, p := range []string{"", long(4097), " secret", "secret ", "secret\n", "sec\nret", "sec\x00ret", "\ufeffsecret", "\xfe\xffsecret", "\u00a0secret"} {
		err := CheckRepositoryPassword(p)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: got %v, want it refused without its value", p, err)
		}
	}
}

// FuzzJobSpecDecode holds what the decoder lets through to what the command line relies on.
func FuzzJobSpecDecode(f *testing.F) {
	for _, k := range Kinds {
		f.Add(string(k.Kind), []byte(`{}`))
	}
	f.Add("backup", []byte(`{"paths":["/a","/--password-command=x"],"excludes":["$x","**/[a]"],"tags":["t:1"],"dry_run":true,"upload_limit_kib":5}`))
	f.Add("backup", []byte(`{"paths":["/a\u0000b"],"PATHS":["-o"]}`))
	f.Add("restore", []byte(`{"snapshot_id":"`+anID+`","paths":["/x"],"target":"t","verify":true}`))
	f.Add("restore", []byte(`{"snapshot_id":"latest"}`))
	f.Add("check", []byte(`{"read_data_subset":"1/2"}`))
	f.Add("prune", []byte(`{"max_unused_percent":0}`))
	f.Add("forget", []byte(`{"snapshot_ids":["`+anID+`"]}`))
	f.Add("backup", []byte(`{"hooks_before":["a"],"stdin_hook":"pg_dump","stdin_name":"all.sql"}`))
	f.Add("mount", []byte(`{"args":["x"]}`))
	f.Fuzz(func(t *testing.T, kind string, raw []byte) {
		s, err := DecodeSpec(Kind(kind), raw)
		if err != nil {
			return
		}
		if s.Kind() != Kind(kind) {
			t.Fatalf("kind: got %s, want %s", s.Kind(), kind)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSpec(Kind(kind), encoded)
		if err != nil {
			t.Fatalf("%s: its own encoding is refused: %v", encoded, err)
		}
		if twice, _ := json.Marshal(again); !bytes.Equal(encoded, twice) {
			t.Fatalf("got %s, want %s", twice, encoded)
		}
		var paths, ids []string
		switch s := s.(type) {
		case *BackupSpec:
			paths = s.Paths
			for _, h := range s.Hooks() {
				if h == "" || h[0] == '.' || h[0] == '-' || strings.ContainsAny(h, "/\x00\n ") {
					t.Fatalf("hook %q", h)
				}
			}
			for _, e := range s.Excludes {
				if e == "" || strings.ContainsAny(e, "\n\r\x00") || e[0] == '#' || e[0] == '!' || strings.TrimSpace(e) != e {
					t.Fatalf("exclude %q is not one line of one pattern", e)
				}
			}
			for _, tag := range s.Tags {
				if tag == "" || tag[0] == '-' || strings.ContainsAny(tag, ", \n=") {
					t.Fatalf("tag %q", tag)
				}
			}
		case *RestoreSpec:
			paths, ids = s.Paths, []string{s.SnapshotID}
			if strings.ContainsAny(s.Target, "/\x00\n") || s.Target == "." || s.Target == ".." {
				t.Fatalf("target %q", s.Target)
			}
		case *ForgetSpec:
			ids = s.SnapshotIDs
		}
		for _, p := range paths {
			if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
				t.Fatalf("path %q", p)
			}
		}
		for _, id := range ids {
			if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
				t.Fatalf("id %q", id)
			}
		}
	})
}

func TestTheStricterOfTwoClassesHolds(t *testing.T) {
	for _, c := range []struct{ a, b, want IOClass }{{"", "", ""}, {"", "low", "low"}, {"low", "", "low"}, {"idle", "low", "idle"}, {"low", "idle", "idle"}} {
		if got := c.a.Stricter(c.b); got != c.want {
			t.Errorf("of %q and %q: got %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
