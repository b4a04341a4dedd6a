package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden messages from the code")

// messages are one full example of each message. What is in testdata was said by some released version:
// a changed golden file is a change of the protocol and wants a line of history in version.go.
func messages() map[string]any {
	when := time.Date(2026, 11, 23, 8, 0, 0, 123456000, time.UTC)
	id, exit := strings.Repeat("ab", 32), 3
	repository := RepositoryRef{Name: RepositoryLocal, ID: id}
	secrets := &Secrets{RepositoryURL: "rest:https://backup.example/host", Password: "secret", Env: map[string]string{"RESTIC_REST_USERNAME": "host"}}
	spec := json.RawMessage(`{"paths":["/etc"]}`)
	facts := Facts{Hostname: "web1", OS: "linux", OSVersion: "Debian GNU/Linux 12 (bookworm)", Arch: "amd64", CPUs: 2, MemoryBytes: 1 << 34,
		AgentVersion: "1.0.0", ResticVersion: "0.18.0", ResticPath: "/usr/bin/restic", TimeZone: "Europe/Berlin", RestoreRoot: "/var/restore"}
	return map[string]any{
		"enroll_request": &EnrollRequest{Token: "rme_x", AgentTokenSHA256: id, Hostname: "web1", OS: "linux", Arch: "amd64", AgentVersion: "1.0.0", ResticVersion: "0.18.0", ProtocolVersion: 1},
		"enroll_reply":   &EnrollReply{HostID: uuid, Name: "web1", Settings: Settings{LogBytesPerJob: 64 << 20, MaxRecordBytes: MaxRecord}},
		"hello_request": &HelloRequest{BootID: lease, BootNumber: 7, Seq: 1, ProtocolVersion: 1, AgentVersion: "1.0.0", ResticVersion: "0.18.0", Facts: facts,
			Kinds: []Kind{KindBackup}, Guard: GuardReport{SHA256: id, Summary: "defaults", Kinds: []Kind{KindBackup}},
			Repositories: []RepositoryReport{{Name: RepositoryLocal, ID: id, Location: "rest:https://backup.example/host"}},
			Jobs:         []JobReport{{ID: uuid, Lease: lease, Phase: PhaseRunning}}, Now: when},
		"hello_reply":    &HelloReply{ServerTime: when, Mark: lease, Jobs: []JobVerdict{{ID: uuid, Verdict: VerdictContinue}}},
		"poll_reply":     &PollReply{Mark: lease, Offer: &Offer{JobID: uuid, Delivery: 2, Kind: KindBackup, Spec: spec, Repository: repository, TimeLimitSeconds: 86400, QueuedAt: when}, Cancel: []string{uuid}, Drop: []JobRef{{ID: uuid, Lease: lease}}, Configure: &Configure{Version: "1"}},
		"hold_reply":     &HoldReply{ServerTime: when, Part: 2},
		"accept_request": &AcceptRequest{Lease: lease, Delivery: 2},
		"accept_reply":   &AcceptReply{Kind: KindBackup, Spec: spec, Repository: repository, Secrets: secrets, TimeLimitSeconds: 86400},
		"start_request":  &StartRequest{StartNonce: lease, RepositoryID: id},
		"resume_request": &ResumeRequest{OldLease: lease, NewLease: lease},
		"resume_reply":   &ResumeReply{State: StateRunning, NextLine: 42, Cancel: true, Kind: KindBackup, Spec: spec, Repository: repository, Secrets: secrets, TimeLimitSeconds: 86400},
		"progress":       &Progress{Seq: 9, ElapsedSeconds: 1.5, PercentDone: 0.25, TotalFiles: 4, FilesDone: 1, TotalBytes: 400, BytesDone: 100, ErrorCount: 1, CurrentFiles: []string{"/etc/hosts"}, StalledSeconds: 2},
		"log_reply":      &LogReply{NextLine: 43, Cancel: true},
		"finish_reply":   &FinishReply{Late: true, ListingRefused: true},
		"finish_request": &FinishRequest{State: StateSucceededWithIssues, ExitCode: &exit, SignalSent: true, Error: &JobError{Code: CodeRestic, Message: "words"}, Summary: &Summary{SnapshotID: id, FilesNew: 1, DataAdded: 2, TotalFilesProcessed: 3, TotalBytesProcessed: 4}, Issues: []Issue{{Path: "/x", Message: "permission denied"}}, StartedAt: when, EndedAt: when, ElapsedSeconds: 3.5, LogLines: 42, LogSHA256: id, Listing: &Listing{Token: lease, RepositoryID: id, Snapshots: []json.RawMessage{json.RawMessage(`{"id":"x"}`)}}},
		"listing_reply":  &ListingReply{Token: lease, MaxPartBytes: MaxBody},
		"commit_request": &CommitRequest{Parts: 1, Count: 2, SHA256: id, RepositoryID: id},
		"snapshot":       &Snapshot{ID: id, Time: when, Parent: id, Tree: id, Paths: []string{"/etc"}, Hostname: "web1", Username: "root", Excludes: []string{"*.tmp"}, Tags: []string{"daily"}, ProgramVersion: "restic 0.18.0", Summary: &SnapshotSummary{BackupStart: when, BackupEnd: when, FilesNew: 1, TotalBytesProcessed: 2}},
		"problem":        &Problem{Title: "Upgrade Required", Status: 426, Detail: "words", Code: ProblemProtocolTooOld, MinProtocolVersion: 1, HelpURL: "https://example/help"},
	}
}

func TestGoldenMessages(t *testing.T) {
	for name, message := range messages() {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(message); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, b.Bytes()) {
			t.Errorf("%s: the code says\n%s\nthe golden file\n%s", name, b.Bytes(), golden)
		}
		// And back: no field is lost, and a field of a later version is ignored.
		back := reflect.New(reflect.TypeOf(message).Elem()).Interface()
		later := bytes.Replace(golden, []byte("{"), []byte(`{"a_field_of_a_later_version": {"x": [1]},`), 1)
		if err := json.Unmarshal(later, back); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		e = json.NewEncoder(&again)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(back); err != nil || !bytes.Equal(again.Bytes(), golden) {
			t.Errorf("%s: read and written again it is\n%s", name, again.Bytes())
		}
	}
}

// TestStandardLibraryOnly: agents and servers of any version can take this module without its friends.
func TestStandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "restic-manager/shared/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if !strings.HasPrefix(p, "restic-manager/shared/") {
			t.Errorf("%s is not of the standard library", p)
		}
	}
}
