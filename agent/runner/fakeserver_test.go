package runner

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// fakeServer is the server's half of the protocol in memory: enough of its rules that an agent which
// breaks one is answered as the real one would.
type fakeServer struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	jobs    []*fakeJob
	boot    string
	number  int64
	hellos  []wire.HelloRequest
	polls   []wire.PollQuery
	calls   []string // names in the order of arrival
	lists   map[string]*fakeList
	held    map[string][]wire.Snapshot // by repository id: the list that stands
	drops   []wire.JobRef
	// verdict is what hello answers about each job it is told of; empty: nothing.
	verdict wire.Verdict
	problem *wire.Problem // answers everything; nil: nothing
	away    bool          // every connection is cut
	// fault is asked about each call by its name and number (from 1), before it is looked at.
	fault  func(name string, n int) fault
	counts map[string]int
	// superseded makes that many commits fail.
	superseded int
	partBytes  int
	skew       time.Duration
	// config is the version of the configuration that polls are to name; empty: none is told.
	config   string
	schedule *wire.Schedule
	ticks    []wire.Tick                // in the order of arrival
	outcomes map[string]wire.TickAnswer // by the id of the due time's job
	adopted  []wire.AdoptRequest
	// notDue is a due time that is refused, and its request with it.
	notDue time.Time
	// busy answers so many adopts with 423.
	busy int
}

// fault is what happens to one request.
type fault struct {
	lose    bool // the request never arrives
	mute    bool // it is done, and its reply is lost
	problem *wire.Problem
	raw     *rawReply // somebody else answers
	do      func()    // runs before the request is handled, without the lock
}

// rawReply is an answer as it comes, in the server's place.
type rawReply struct {
	status int
	header map[string]string
	body   string
}

func (r *rawReply) write(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.body)
}

type fakeJob struct {
	offer    wire.Offer
	state    wire.State
	lease    string
	nonce    string
	cancel   bool
	told     bool
	secrets  *wire.Secrets
	accepts  int
	starts   int
	log      bytes.Buffer
	lines    int64
	finish   []byte
	result   wire.FinishRequest
	late     [][]byte
	progress []wire.Progress
	conflict bool
	full     bool
	batches  []int64 // lines of each
}

type fakeList struct {
	job   *fakeJob
	parts [][]byte
}

func newFakeServer(t *testing.T) *fakeServer {
	s := &fakeServer{t: t, changed: make(chan struct{}), counts: map[string]int{}, lists: map[string]*fakeList{},
		held: map[string][]wire.Snapshot{}, partBytes: 256 << 10, outcomes: map[string]wire.TickAnswer{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// queue adds a job.
func (s *fakeServer) queue(kind wire.Kind, spec wire.Spec) *fakeJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, err := json.Marshal(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	j := &fakeJob{state: wire.StateQueued, offer: wire.Offer{JobID: fmt.Sprintf("018f0000-0000-7000-8000-%012d", len(s.jobs)+1), Delivery: 1, Kind: kind, Spec: raw,
		Repository: wire.RepositoryRef{Name: wire.RepositoryLocal}, TimeLimitSeconds: 600, QueuedAt: time.Now()}}
	s.jobs = append(s.jobs, j)
	s.notify()
	return j
}

// notify wakes waiting polls; s.mu is held.
func (s *fakeServer) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// set changes the server's state.
func (s *fakeServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.notify()
}

// is reads the server's state.
func (s *fakeServer) is(f func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func (s *fakeServer) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

func callName(r *http.Request) string {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/agents/"), "/")
	switch {
	case parts[0] == "jobs":
		return parts[2]
	case parts[0] == "listings" && len(parts) == 1:
		return "token"
	case parts[0] == "listings" && parts[2] == "parts":
		return "part"
	case parts[0] == "listings":
		return "commit"
	}
	return parts[0]
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := callName(r)
	body, err := inflate(r)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, name)
	s.counts[name]++
	f := fault{problem: s.problem, lose: s.away}
	if s.fault != nil && !f.lose {
		f = s.fault(name, s.counts[name])
	}
	s.mu.Unlock()
	if f.do != nil {
		f.do()
	}
	if f.lose {
		cut(w)
		return
	}
	if f.raw != nil {
		f.raw.write(w)
		return
	}
	status, reply := s.handle(name, r, body, f)
	if f.mute {
		cut(w)
		return
	}
	kind := "application/json"
	if p, ok := reply.(*wire.Problem); ok {
		kind, p.Status = wire.ProblemContentType, status
		if p.Title == "" {
			p.Title = p.Code
		}
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply)
}

func cut(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

func inflate(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "zstd" {
		return io.ReadAll(r.Body)
	}
	d, err := zstd.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

func problemOf(status int, code string) (int, any) { return status, &wire.Problem{Code: code} }

func decode[T any](b []byte) T {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

func (s *fakeServer) handle(name string, r *http.Request, body []byte, f fault) (int, any) {
	if f.problem != nil {
		p := *f.problem
		return p.Status, &p
	}
	if r.Header.Get("Authorization") != "Bearer "+testToken || r.Header.Get(wire.HeaderProtocol) != "1" {
		return problemOf(401, wire.ProblemUnauthorized)
	}
	if name == "next-command" {
		return s.poll(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.notify()
	switch name {
	case "hello":
		return s.hello(decode[wire.HelloRequest](body))
	case "ticks":
		r := decode[wire.TicksRequest](body)
		if slices.ContainsFunc(r.Ticks, func(t wire.Tick) bool { return t.DueAt.Equal(s.notDue) }) {
			return problemOf(422, "not_due")
		}
		return 200, s.account(r)
	case "adopt":
		return s.adopt(strings.Split(r.URL.Path, "/")[4], r.Header.Get(wire.HeaderLease), decode[wire.AdoptRequest](body))
	case "token":
		j := s.byID(decode[wire.ListingRequest](body).JobID)
		if j == nil || j.lease != r.Header.Get(wire.HeaderLease) {
			return problemOf(410, wire.ProblemLeaseLost)
		}
		token := spool.RandomHex()
		s.lists[token] = &fakeList{job: j}
		return 200, wire.ListingReply{Token: token, MaxPartBytes: s.partBytes}
	case "part", "commit":
		return s.listing(name, strings.Split(r.URL.Path, "/"), body)
	}
	j := s.byID(strings.Split(r.URL.Path, "/")[4])
	if j == nil {
		return problemOf(410, wire.ProblemLeaseLost)
	}
	return s.about(j, name, r, body)
}

func (s *fakeServer) byID(id string) *fakeJob {
	for _, j := range s.jobs {
		if j.offer.JobID == id {
			return j
		}
	}
	return nil
}

func (s *fakeServer) hello(h wire.HelloRequest) (int, any) {
	if h.BootID != s.boot && h.BootNumber <= s.number {
		return 409, &wire.Problem{Code: wire.ProblemBootSuperseded, BootNumber: s.number}
	}
	s.boot, s.number = h.BootID, h.BootNumber
	s.hellos = append(s.hellos, h)
	reply := wire.HelloReply{ServerTime: time.Now().Add(s.skew), Mark: spool.RandomHex(), Jobs: []wire.JobVerdict{}}
	for _, j := range h.Jobs {
		if s.verdict != "" {
			reply.Jobs = append(reply.Jobs, wire.JobVerdict{ID: j.ID, Verdict: s.verdict})
		}
	}
	return 200, reply
}

func (s *fakeServer) poll(r *http.Request) (int, any) {
	q, err := wire.ParsePollQuery(r.URL.Query())
	if err != nil {
		return 422, &wire.Problem{Code: wire.ProblemInvalid, Detail: err.Error()}
	}
	deadline := time.After(50 * time.Millisecond)
	s.mu.Lock()
	s.polls = append(s.polls, q)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		if q.Boot != s.boot {
			s.mu.Unlock()
			return problemOf(409, wire.ProblemHelloRequired)
		}
		reply := s.pollReply(q)
		changed := s.changed
		s.mu.Unlock()
		if !reply.IsEmpty() {
			return 200, reply
		}
		select {
		case <-changed:
		case <-deadline:
			return 200, reply
		case <-r.Context().Done():
			return 200, reply
		}
	}
}

func (s *fakeServer) pollReply(q wire.PollQuery) wire.PollReply {
	reply := wire.PollReply{Mark: "m"}
	for _, ref := range q.Jobs {
		if j := s.byID(ref.ID); j != nil && j.cancel && !j.told && j.lease == ref.Lease && !j.state.Terminal() {
			reply.Cancel = append(reply.Cancel, ref.ID)
			j.told = true // once a lease, so that the poll does not spin
		}
	}
	reply.Drop, s.drops = s.drops, nil
	for _, ref := range q.Jobs {
		if s.byID(ref.ID) == nil {
			reply.Drop = append(reply.Drop, ref) // what it does not know it does not wait for
		}
	}
	if s.config != "" && q.Config != s.config {
		reply.Configure = &wire.Configure{Version: s.config, Schedule: s.schedule}
	}
	for _, j := range s.jobs {
		free := q.FreeLong
		if laneOf(j.offer.Kind) == wire.LaneShort {
			free = q.FreeShort
		}
		if j.state == wire.StateQueued && free > 0 {
			o := j.offer
			reply.Offer = &o
			break
		}
	}
	return reply
}

// account answers ticks: the first outcome stays, and what is asked for is queued.
func (s *fakeServer) account(r wire.TicksRequest) wire.TicksReply {
	var reply wire.TicksReply
	for _, t := range r.Ticks {
		s.ticks = append(s.ticks, t)
		policy := s.policy(t.PolicyID)
		if policy == nil {
			reply.Ticks = append(reply.Ticks, wire.TickAnswer{Unassigned: true})
			continue
		}
		id := wire.TickJobID(t.PolicyID, testHost, t.DueAt)
		if _, ok := s.outcomes[id]; !ok {
			s.outcomes[id] = wire.TickAnswer{Outcome: t.Outcome}
			if t.Outcome == "" {
				s.outcomes[id] = wire.TickAnswer{Outcome: wire.OutcomeRun, JobID: id}
				s.jobs = append(s.jobs, s.jobOf(id, *policy))
			}
		}
		reply.Ticks = append(reply.Ticks, s.outcomes[id])
	}
	return reply
}

func (s *fakeServer) policy(id string) *wire.ScheduledPolicy {
	if s.schedule == nil {
		return nil
	}
	for _, p := range s.schedule.Policies {
		if p.ID == id {
			return &p
		}
	}
	return nil
}

// jobOf is a queued job of a policy.
func (s *fakeServer) jobOf(id string, p wire.ScheduledPolicy) *fakeJob {
	return &fakeJob{state: wire.StateQueued, secrets: s.schedule.Secrets, offer: wire.Offer{JobID: id, Delivery: 1, Kind: p.Kind, Spec: p.Spec,
		Repository: wire.RepositoryRef{Name: s.schedule.Repository}, TimeLimitSeconds: p.TimeLimitSeconds, QueuedAt: time.Now()}}
}

func (s *fakeServer) adopt(id, lease string, r wire.AdoptRequest) (int, any) {
	policy := s.policy(r.PolicyID)
	if id != wire.TickJobID(r.PolicyID, testHost, r.DueAt) || policy == nil || !wire.IsRandomHex(lease) || !wire.IsRandomHex(r.StartNonce) || r.StartedAt.IsZero() {
		return problemOf(422, wire.ProblemInvalid)
	}
	j := s.byID(id)
	switch {
	case j != nil && j.lease == lease && j.nonce == r.StartNonce:
		return 200, wire.Empty{}
	case j != nil && j.state != wire.StateQueued:
		return problemOf(409, wire.ProblemJobGone)
	case s.busy > 0:
		s.busy--
		return problemOf(423, wire.ProblemHostBusy)
	case slices.ContainsFunc(s.jobs, func(o *fakeJob) bool {
		return o != j && (o.state == wire.StateRunning || o.state == wire.StateAccepted) && laneOf(o.offer.Kind) == laneOf(r.Kind)
	}):
		return problemOf(423, wire.ProblemHostBusy)
	case j == nil:
		j = s.jobOf(id, *policy)
		s.jobs = append(s.jobs, j)
	}
	j.state, j.lease, j.nonce = wire.StateRunning, lease, r.StartNonce
	j.offer.Kind, j.offer.Spec = r.Kind, r.Spec
	j.starts++
	if _, ok := s.outcomes[id]; !ok {
		s.outcomes[id] = wire.TickAnswer{Outcome: wire.OutcomeRun, JobID: id}
	}
	s.adopted = append(s.adopted, r)
	return 200, wire.Empty{}
}

func (s *fakeServer) about(j *fakeJob, name string, r *http.Request, body []byte) (int, any) {
	lease := r.Header.Get(wire.HeaderLease)
	switch name {
	case "accept":
		return j.accept(decode[wire.AcceptRequest](body))
	case "resume":
		return j.resume(decode[wire.ResumeRequest](body))
	}
	if lease != j.lease {
		return problemOf(410, wire.ProblemLeaseLost)
	}
	switch name {
	case "start":
		return j.start(decode[wire.StartRequest](body))
	case "log":
		q, err := wire.ParseLogQuery(r.URL.Query())
		if err != nil {
			return 422, &wire.Problem{Code: wire.ProblemInvalid, Detail: err.Error()}
		}
		return j.appendLog(q, body)
	case "progress":
		p := decode[wire.Progress](body)
		if n := len(j.progress); n == 0 || j.progress[n-1].Seq < p.Seq {
			j.progress = append(j.progress, p)
		}
		return 200, wire.ProgressReply{Cancel: j.cancel}
	case "finish":
		return s.end(j, body)
	}
	return 404, &wire.Problem{Code: "not_found"}
}

func (j *fakeJob) reply() wire.AcceptReply {
	return wire.AcceptReply{Kind: j.offer.Kind, Spec: j.offer.Spec, Repository: j.offer.Repository, Secrets: j.secrets, TimeLimitSeconds: j.offer.TimeLimitSeconds}
}

func (j *fakeJob) accept(r wire.AcceptRequest) (int, any) {
	j.accepts++
	if j.lease == r.Lease && !j.state.Terminal() && j.state != wire.StateQueued {
		return 200, j.reply()
	}
	if j.state != wire.StateQueued || r.Delivery != j.offer.Delivery {
		return problemOf(409, wire.ProblemJobGone)
	}
	j.state, j.lease = wire.StateAccepted, r.Lease
	return 200, j.reply()
}

func (j *fakeJob) start(r wire.StartRequest) (int, any) {
	switch {
	case j.state == wire.StateRunning && j.nonce == r.StartNonce:
		return 200, wire.Empty{}
	case j.state == wire.StateAccepted:
		j.state, j.nonce = wire.StateRunning, r.StartNonce
		j.starts++
		return 200, wire.Empty{}
	}
	return problemOf(410, wire.ProblemLeaseLost)
}

func (j *fakeJob) resume(r wire.ResumeRequest) (int, any) {
	if j.state == wire.StateQueued || j.lease != r.OldLease && j.lease != r.NewLease {
		return problemOf(410, wire.ProblemLeaseLost)
	}
	j.lease = r.NewLease
	a := j.reply()
	return 200, wire.ResumeReply{State: j.state, NextLine: j.lines + 1, LogComplete: j.logComplete(), Cancel: j.cancel,
		Kind: a.Kind, Spec: a.Spec, Repository: a.Repository, Secrets: a.Secrets, TimeLimitSeconds: a.TimeLimitSeconds}
}

func (j *fakeJob) logSum() string {
	sum := sha256.Sum256(j.log.Bytes())
	return hex.EncodeToString(sum[:])
}

func (j *fakeJob) logComplete() bool {
	return j.finish != nil && j.lines == j.result.LogLines && j.logSum() == j.result.LogSHA256
}

func (j *fakeJob) appendLog(q wire.LogQuery, body []byte) (int, any) {
	switch {
	case j.state == wire.StateAccepted:
		return problemOf(409, wire.ProblemNotStarted)
	case j.conflict:
		return problemOf(409, wire.ProblemLogConflict)
	case j.full && q.Lines > 0:
		return problemOf(409, wire.ProblemLogFull)
	case q.FirstLine > j.lines+1:
		return 409, &wire.Problem{Code: wire.ProblemLogGap, NextLine: j.lines + 1}
	case q.FirstLine < j.lines+1 || q.Lines == 0:
		return 200, wire.LogReply{NextLine: j.lines + 1, Cancel: j.cancel}
	case q.SumBefore != j.logSum():
		return problemOf(409, wire.ProblemLogConflict)
	case int64(bytes.Count(body, []byte("\n"))) != q.Lines:
		return problemOf(422, wire.ProblemInvalid)
	}
	j.log.Write(body)
	j.lines += q.Lines
	j.batches = append(j.batches, q.Lines)
	return 200, wire.LogReply{NextLine: j.lines + 1, Cancel: j.cancel}
}

func (s *fakeServer) end(j *fakeJob, body []byte) (int, any) {
	f := decode[wire.FinishRequest](body)
	switch {
	case j.state == wire.StateAccepted && f.State != wire.StateRejected:
		return problemOf(409, wire.ProblemNotStarted)
	case j.state.Terminal() && bytes.Equal(j.finish, body):
		return 200, wire.FinishReply{}
	case j.state.Terminal():
		j.late = append(j.late, body)
		return 200, wire.FinishReply{Late: true}
	}
	j.state, j.finish, j.result = f.State, body, f
	if l := f.Listing; l != nil && s.lists[l.Token] != nil {
		delete(s.lists, l.Token)
		s.hold(l.RepositoryID, bytes.Join(rawLines(l.Snapshots), []byte("\n")))
	}
	return 200, wire.FinishReply{}
}

func rawLines(raws []json.RawMessage) [][]byte {
	var out [][]byte
	for _, r := range raws {
		out = append(out, r)
	}
	return out
}

func (s *fakeServer) hold(repository string, lines []byte) {
	list := []wire.Snapshot{}
	for line := range bytes.Lines(lines) {
		list = append(list, decode[wire.Snapshot](line))
	}
	s.held[repository] = list
}

func (s *fakeServer) listing(name string, path []string, body []byte) (int, any) {
	l := s.lists[path[4]]
	if l == nil {
		return problemOf(409, wire.ProblemListingSuperseded)
	}
	if name == "part" {
		n, _ := strconv.Atoi(path[6])
		if n > len(l.parts) || len(body) > s.partBytes {
			return problemOf(409, wire.ProblemListingSuperseded)
		}
		if n == len(l.parts) {
			l.parts = append(l.parts, body)
		}
		return 200, wire.Empty{}
	}
	c := decode[wire.CommitRequest](body)
	delete(s.lists, path[4])
	if c.Error != "" {
		return 200, wire.Empty{}
	}
	if s.superseded > 0 {
		s.superseded--
		return problemOf(409, wire.ProblemListingSuperseded)
	}
	all := slices.Concat(l.parts...)
	sum := sha256.Sum256(all)
	if c.Parts != len(l.parts) || c.SHA256 != hex.EncodeToString(sum[:]) || c.Count != bytes.Count(all, []byte("\n")) {
		return problemOf(422, wire.ProblemInvalid)
	}
	s.hold(c.RepositoryID, all)
	return 200, wire.Empty{}
}
