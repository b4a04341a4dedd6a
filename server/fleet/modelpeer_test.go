package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/boot"
	"restic-manager/server/fleet/job"
	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// peer is a store under comparison. Jobs are called by the names the store in memory gave them, marks by the
// order in which they were first seen.
type peer interface {
	AddHost(id string)
	Create(n NewJob) (string, bool, error)
	Retry(id, key string) (string, error)
	Cancel(id string) error
	Revoke(host string) error
	ClearAlarm(host string) error
	PutRepository(host, url string) error
	DeleteRepository(host string) error
	Seen(host string)
	Hello(host string, r wire.HelloRequest) (wire.HelloReply, error)
	Poll(host string, q wire.PollQuery) (wire.PollReply, error)
	Accept(host, id string, r wire.AcceptRequest) (wire.AcceptReply, error)
	Start(host, id, lease string, r wire.StartRequest) error
	Adopt(host, id, lease string, r wire.AdoptRequest) error
	Resume(host, id string, r wire.ResumeRequest) (wire.ResumeReply, error)
	Append(host, id, lease string) (wire.LogReply, error)
	Progress(host, id, lease string, p wire.Progress) (wire.ProgressReply, error)
	Finish(host, id, lease string, body []byte, r wire.FinishRequest) (wire.FinishReply, error)
	Flush() error
	Sweep() (memory.Report, error)
	Restart()
	Watch(v job.Vigil)
	picture() picture
}

// picture is all that must be the same after each step.
type picture struct {
	Hosts []hostPicture
	Jobs  []job.Job
	Trail []memory.Entry
}

type hostPicture struct {
	Status     string
	LastSeenAt time.Time
	Tie        job.Tie
	Newest     boot.Boot
	Older      string
	Alarm      bool
}

// names translates one store's names of things into those all have in common.
type names struct {
	prefix      string
	common, own map[string]string
}

func newNames(prefix string) *names {
	return &names{prefix: prefix, common: map[string]string{}, own: map[string]string{}}
}

// seen is the common name of the store's own; the first time it makes one.
func (n *names) seen(own string) string {
	if own == "" {
		return ""
	}
	if _, ok := n.common[own]; !ok {
		n.tie(own, fmt.Sprint(n.prefix, len(n.common)))
	}
	return n.common[own]
}

func (n *names) tie(own, common string) { n.common[own], n.own[common] = common, own }

// memoryPeer is the store in memory.
type memoryPeer struct {
	*memory.Store
	marks *names
}

func (p *memoryPeer) Create(n NewJob) (string, bool, error) {
	o, err := n.order()
	if err != nil {
		return "", false, err
	}
	ask := memory.Order{HostID: o.hostID, Kind: o.kind, Spec: o.spec, TimeLimit: o.timeLimit, TTL: o.ttl, PolicyID: o.policyID, ID: o.id}
	if o.target != nil {
		ask.Target = *o.target
	}
	return p.Store.Create(ask, memoryKey(o.key))
}

func memoryKey(key string) memory.Key {
	if key == "" {
		return memory.Key{}
	}
	return memory.Key{Actor: tester.ID, Key: key}
}

func (p *memoryPeer) Retry(id, key string) (string, error) { return p.Store.Retry(id, memoryKey(key)) }

func (p *memoryPeer) Watch(v job.Vigil) { p.Vigil = v }

func (p *memoryPeer) Flush() error { p.Store.Flush(); return nil }

func (p *memoryPeer) Hello(host string, r wire.HelloRequest) (wire.HelloReply, error) {
	reply, err := p.Store.Hello(host, r)
	reply.Mark = p.marks.seen(reply.Mark)
	return reply, err
}

func (p *memoryPeer) Poll(host string, q wire.PollQuery) (wire.PollReply, error) {
	q.Mark = p.marks.own[q.Mark]
	reply, err := p.Store.Poll(host, q)
	reply.Mark = p.marks.seen(reply.Mark)
	return reply, err
}

func (p *memoryPeer) picture() picture {
	pic := picture{Jobs: p.Jobs(), Trail: p.Trail()}
	for _, h := range p.Hosts() {
		pic.Hosts = append(pic.Hosts, pictured(h.Status(), h.LastSeenAt, h.Tie, h.Boots, p.marks))
	}
	return pic
}

func pictured(status string, seen time.Time, tie job.Tie, b boot.Host, marks *names) hostPicture {
	var older []string
	for _, o := range b.Older {
		older = append(older, o.ID+" "+marks.seen(o.Probe))
	}
	slices.Sort(older)
	b.Newest.Mark = marks.seen(b.Newest.Mark)
	return hostPicture{Status: status, LastSeenAt: seen, Tie: tie, Newest: b.Newest, Older: strings.Join(older, ","), Alarm: b.Alarm}
}

// sqlPeer is the store on a database.
type sqlPeer struct {
	*fixture
	store *memory.Store // whose names of jobs are common to all
	marks *names
	jobs  *names
	since string // the newest row of the audit trail before the sequence, which nobody can empty
}

// reset empties the database.
func (p *sqlPeer) reset(store *memory.Store) {
	p.store, p.marks, p.jobs = store, newNames("mark"), newNames("job")
	p.write(func(tx *database.Tx) error {
		for _, table := range []string{"hosts", "repositories", "server_state WHERE key = 'sweep'"} {
			if err := tx.Exec("DELETE FROM " + table).Error; err != nil {
				return err
			}
		}
		return nil
	})
	var newest []string
	p.read(&newest, "SELECT id FROM audit ORDER BY id DESC LIMIT 1")
	p.since = append(newest, database.FirstID)[0]
	p.Restart()
}

func (p *sqlPeer) read(to any, query string, args ...any) {
	if err := p.db.Read(p.t.Context()).Raw(query, args...).Scan(to).Error; err != nil {
		panic(err)
	}
}

func (p *sqlPeer) write(fn func(tx *database.Tx) error) {
	if err := p.db.Write(p.t.Context(), fn); err != nil {
		panic(err)
	}
}

func (p *sqlPeer) Restart() {
	s, err := Open(p.t.Context(), Options{DB: p.db, Key: make([]byte, 32)})
	if err != nil {
		panic(err)
	}
	s.Use(Hooks{Adopted: func(*database.Tx, string, wire.AdoptRequest) error { return nil }}) // it was due
	p.Store = s
}

// own is the database's id of a job.
func (p *sqlPeer) own(id string) string {
	if own, ok := p.jobs.own[id]; ok {
		return own
	}
	return "0190a000-0000-7000-8000-00000000ffff"
}

func (p *sqlPeer) refs(refs []wire.JobRef) (own []wire.JobRef) {
	for _, r := range refs {
		own = append(own, wire.JobRef{ID: p.own(r.ID), Lease: r.Lease})
	}
	return own
}

func (p *sqlPeer) AddHost(id string) {
	sum := sha256.Sum256([]byte(id))
	p.write(func(tx *database.Tx) error {
		return tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds,
			reported_repositories, agent_version, restic_version, protocol_version) VALUES (?, ?, ?, '{}', 'never_seen', ?, ?, 'h', '{}', '{}', '[]', '[]', '1', '', 1)`,
			id, id, id, tx.Now, hex.EncodeToString(sum[:])).Error
	})
}

// made is the common name of a job: the one that the store in memory gave to its job of that number.
func (p *sqlPeer) made(own string) string {
	if _, ok := p.jobs.common[own]; !ok && own != "" {
		name, n := "unexpected "+own, len(p.jobs.common)
		if jobs := p.store.Jobs(); n < len(jobs) {
			name = jobs[n].ID
		}
		p.jobs.tie(own, name)
	}
	return p.jobs.common[own]
}

func (p *sqlPeer) Create(n NewJob) (string, bool, error) {
	j, created, err := p.CreateJob(p.t.Context(), tester, n)
	return p.made(j.ID), created, err
}

func (p *sqlPeer) Retry(id, key string) (string, error) {
	j, _, err := p.RetryJob(p.t.Context(), tester, p.own(id), key)
	return p.made(j.ID), err
}

func (p *sqlPeer) Cancel(id string) error {
	_, err := p.CancelJob(p.t.Context(), tester, p.own(id))
	return err
}

func (p *sqlPeer) Revoke(host string) error {
	_, err := p.RevokeHost(p.t.Context(), tester, host)
	return err
}

func (p *sqlPeer) ClearAlarm(host string) error {
	_, err := p.ClearCloneAlarm(p.t.Context(), tester, host)
	return err
}

func (p *sqlPeer) PutRepository(host, url string) error {
	return p.Store.PutRepository(p.t.Context(), tester, host, RepositoryConfig{URL: url, Password: "x"})
}

func (p *sqlPeer) DeleteRepository(host string) error {
	return p.Store.DeleteRepository(p.t.Context(), tester, host)
}

func (p *sqlPeer) Hello(host string, r wire.HelloRequest) (wire.HelloReply, error) {
	jobs := r.Jobs
	r.Jobs = nil
	for _, j := range jobs {
		r.Jobs = append(r.Jobs, wire.JobReport{ID: p.own(j.ID), Lease: j.Lease, Phase: j.Phase})
	}
	reply, err := p.Store.Hello(p.t.Context(), host, r)
	reply.Mark, reply.Settings = p.marks.seen(reply.Mark), wire.Settings{}
	for i := range reply.Jobs {
		reply.Jobs[i].ID = jobs[i].ID
	}
	return reply, err
}

func (p *sqlPeer) Poll(host string, q wire.PollQuery) (wire.PollReply, error) {
	jobs := q.Jobs
	q.Mark, q.Jobs, q.Config = p.marks.own[q.Mark], p.refs(jobs), p.configVersion()
	reply, err := p.Store.Poll(p.t.Context(), host, q)
	reply.Mark = p.marks.seen(reply.Mark)
	if reply.Offer != nil {
		reply.Offer.JobID = p.made(reply.Offer.JobID)
	}
	for i, id := range reply.Cancel {
		reply.Cancel[i] = p.common(id, jobs)
	}
	for i, ref := range reply.Drop {
		reply.Drop[i].ID = p.common(ref.ID, jobs)
	}
	return reply, err
}

// common is the common name of a job that was named in a question: also of one that does not exist.
func (p *sqlPeer) common(own string, asked []wire.JobRef) string {
	for _, ref := range asked {
		if p.own(ref.ID) == own {
			return ref.ID
		}
	}
	return own
}

func (p *sqlPeer) Accept(host, id string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	reply, err := p.Store.Accept(p.t.Context(), host, p.own(id), r)
	reply.Secrets = nil
	return reply, err
}

func (p *sqlPeer) Start(host, id, lease string, r wire.StartRequest) error {
	return p.Store.Start(p.t.Context(), host, p.own(id), lease, r)
}

func (p *sqlPeer) Adopt(host, id, lease string, r wire.AdoptRequest) error {
	err := p.Store.Adopt(p.t.Context(), host, id, lease, r) // both know it by the id that is derived
	if _, exists := p.store.Job(id); exists && id == wire.TickJobID(r.PolicyID, host, r.DueAt) {
		p.made(id)
	}
	return err
}

func (p *sqlPeer) Resume(host, id string, r wire.ResumeRequest) (wire.ResumeReply, error) {
	reply, err := p.Store.Resume(p.t.Context(), host, p.own(id), r)
	reply.Secrets, reply.NextLine, reply.LogComplete = nil, 0, false
	return reply, err
}

func (p *sqlPeer) Append(host, id, lease string) (wire.LogReply, error) {
	reply, err := p.AppendLog(p.t.Context(), host, p.own(id), lease, wire.LogQuery{FirstLine: 1}, LogBody{})
	reply.NextLine = 0
	return reply, err
}

func (p *sqlPeer) Progress(host, id, lease string, r wire.Progress) (wire.ProgressReply, error) {
	return p.Store.Progress(p.t.Context(), host, p.own(id), lease, r)
}

func (p *sqlPeer) Finish(host, id, lease string, body []byte, r wire.FinishRequest) (wire.FinishReply, error) {
	return p.Store.Finish(p.t.Context(), host, p.own(id), lease, body, r)
}

func (p *sqlPeer) Watch(v job.Vigil) {
	p.write(func(tx *database.Tx) error {
		return tx.Exec(`INSERT INTO server_state (key, value) VALUES ('sweep', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
			string(mustJSON(v))).Error
	})
}

func (p *sqlPeer) Flush() error { return p.Store.Flush(p.t.Context()) }

func (p *sqlPeer) Sweep() (memory.Report, error) {
	r, err := p.Store.Sweep(p.t.Context())
	return memory.Report(r), err
}

func (p *sqlPeer) picture() picture {
	var pic picture
	var hosts []struct {
		ID, Status, RepositoryID string
		LastSeenAt               *time.Time
		Boots                    bootRow `gorm:"embedded"`
		ServerHeld               bool
		Older, Probe             *string
	}
	p.read(&hosts, "SELECT "+bootColumns+`, id, status, last_seen_at, coalesce(repository_id, '') AS repository_id, older_boots.boot_id AS older, probe,
		EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held
		FROM hosts LEFT JOIN older_boots ON older_boots.host_id = hosts.id ORDER BY id`)
	for i := 0; i < len(hosts); {
		h, b := hosts[i], hosts[i].Boots.host()
		for ; i < len(hosts) && hosts[i].ID == h.ID; i++ {
			if hosts[i].Older != nil {
				b.Older = append(b.Older, boot.Older{ID: *hosts[i].Older, Probe: *hosts[i].Probe})
			}
		}
		pic.Hosts = append(pic.Hosts, pictured(h.Status, at(h.LastSeenAt), job.Tie{ID: h.RepositoryID, ServerHeld: h.ServerHeld}, b, p.marks))
	}
	var rows []jobRow
	p.read(&rows, "SELECT "+ruleColumns+" FROM jobs ORDER BY number")
	for i, row := range rows {
		j := row.rules()
		j.ID, j.Number = p.made(j.ID), int64(i+1)
		pic.Jobs = append(pic.Jobs, j)
	}
	p.read(&pic.Trail, "SELECT action, target FROM audit WHERE id > ? ORDER BY id", p.since)
	for i, e := range pic.Trail {
		if id, ok := strings.CutPrefix(e.Target, "job:"); ok {
			pic.Trail[i].Target = "job:" + p.made(id)
		}
	}
	return pic
}
