package spool

import (
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// FuzzRecovery builds a state folder of any files below jobs, finished, aside, trash and the root, and
// wants an agent that starts on it to go through it without a panic, to call nothing startable that has
// a claim, and to get every folder out of the way.
func FuzzRecovery(f *testing.F) {
	dir := "jobs/" + testID
	job := string(seal([]byte(`{"offer":{"job_id":"` + testID + `"},"phase":"starting","lease":"` + testLease + `","leases":["` + testLease + `"],"nonce":"` + testNonce + `"}`)))
	claim := string(seal([]byte(`{"kind":"supervisor","nonce":"` + testNonce + `","pid":1}`)))
	abandoned := string(seal([]byte(`{"kind":"abandoned","nonce":"` + testNonce + `","pid":1}`)))
	add := func(files ...string) { f.Add(strings.Join(files, "\x00")) }
	add()
	add(dir+"/job.json", job)
	add(dir+"/job.json", job, dir+"/claim-"+testNonce, claim)
	add(dir+"/job.json", job, dir+"/claim-"+testNonce, abandoned)
	add(dir+"/job.json", job, dir+"/claim-"+testNonce, claim[:40], dir+"/result.json", "{}")
	add(dir+"/job.json", job, dir+"/claim-"+testNonce+".supervisor-1.tmp", claim)
	add(dir+"/job.json", job[:50], dir+"/finish.json", string(seal([]byte("{}"))))
	add(dir+"/job.json/x", "a folder where a file should be")
	add(dir+"/job.json", job, dir+"/claim-01/x", claim, dir+"/result.json/x", "", dir+"/finish.json/x", "")
	add("jobs/x", "a file", "finished/"+testID+"-1", "x", "finished/-", "", "aside/"+testID+"/job.json", job, "trash/a/b/c", "x")
	add("ledger", "\n"+ledgerLine(testID, "run", time.Unix(1, 0)), "ledger-copy", "torn", "boot.json", "{}", "lock", "x")
	add(dir+"/log.ndjson", "{}\n\x00\x00", dir+"/job.json", job, dir+"/progress.json", job, dir+"/cancel", "")
	f.Fuzz(func(t *testing.T, tree string) {
		m := NewMemory(newClock().now)
		must(t, m.Mkdir(testDir))
		plant(m, strings.Split(tree, "\x00"))
		s, err := Open(m, testDir, newClock().now)
		if err != nil {
			return // a file where a folder must be
		}
		defer s.Close()
		if b, err := s.Boot(0); err == nil && b.Number < newClock().now().Unix() {
			t.Errorf("boot number: got %d, want the clock's at least", b.Number)
		}
		found, damaged, err := s.Scan()
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		for _, facts := range found {
			recover1(t, m, s, facts)
		}
		for _, d := range damaged {
			if err := s.PutAside(d.ID, d.Reason); err != nil && !strings.Contains(err.Error(), "ledger") {
				t.Errorf("put %q aside: %v", d.ID, err)
			}
		}
		_, _ = s.Expire()
	})
}

func recover1(t *testing.T, m *Memory, s *Store, facts Facts) {
	t.Helper()
	f := s.Folder(facts.ID)
	names, err := m.List(f.Dir())
	must(t, err)
	for _, name := range names {
		if nonce, ok := strings.CutPrefix(name, claimPrefix); ok && wire.IsRandomHex(nonce) && nonce == facts.Job.Nonce && facts.MayStart() {
			t.Errorf("job with the claim %s: may start, want not", name)
		}
	}
	if facts.MayStart() && (facts.Result != nil || facts.Finish != nil) {
		t.Errorf("job with a result: may start, want not")
	}
	_, _, _ = f.Progress()
	_, _ = f.LogSum()
	r, err := f.ReadLog()
	if err == nil {
		if b, err := r.Next(1, wire.MaxBatchBytes, wire.MaxBatchLines); err == nil {
			_, _ = r.Next(1+b.Lines, wire.MaxBatchBytes, wire.MaxBatchLines)
		}
	}
	_, _ = f.OpenLog(LogLimits{}).Close()
	_, _ = s.Known(facts.ID)
	_ = f.Save(facts.Job)
	if err := s.Settle(facts.ID); err != nil && !strings.Contains(err.Error(), "finish") {
		t.Errorf("settle: %v", err)
	}
}

// plant makes files of pairs of path and content; what cannot be made is left out.
func plant(m *Memory, pairs []string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		path := testDir
		parts := strings.Split(pairs[i], "/")
		ok := true
		for j, part := range parts {
			if part == "" || part == "." || part == ".." {
				ok = false
				break
			}
			path += "/" + part
			if j < len(parts)-1 {
				_ = m.Mkdir(path)
			}
		}
		if !ok {
			continue
		}
		if f, err := m.Create(path); err == nil {
			_, _ = f.Write([]byte(pairs[i+1]))
			_ = f.Sync()
		}
	}
}
