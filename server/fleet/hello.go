package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/boot"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// bootColumns are the columns of hosts that tell an agent's processes apart.
const bootColumns = "hosts.boot_id, hosts.boot_number, hosts.boot_seq, hosts.boot_mark, hosts.clone_alarm_at"

type bootRow struct {
	BootID       string     `gorm:"column:boot_id"`
	BootNumber   int64      `gorm:"column:boot_number"`
	BootSeq      int64      `gorm:"column:boot_seq"`
	BootMark     string     `gorm:"column:boot_mark"`
	CloneAlarmAt *time.Time `gorm:"column:clone_alarm_at"`
}

func (r bootRow) host() boot.Host {
	return boot.Host{
		Newest: boot.Boot{ID: r.BootID, Number: r.BootNumber, Seq: r.BootSeq, Mark: r.BootMark},
		Alarm:  r.CloneAlarmAt != nil,
	}
}

// lockBoots reads what is known of a host's processes, and locks the host.
func lockBoots(tx *database.Tx, hostID string) (boot.Host, error) {
	var rows []bootRow
	if err := tx.Raw("SELECT "+bootColumns+" FROM hosts WHERE id = ?"+forUpdate(tx), hostID).Scan(&rows).Error; err != nil {
		return boot.Host{}, fmt.Errorf("read the processes of host %s: %w", hostID, err)
	}
	if len(rows) == 0 {
		return boot.Host{}, errNoHost
	}
	h := rows[0].host()
	var older []struct{ BootID, Probe string }
	if err := tx.Raw("SELECT boot_id, probe FROM older_boots WHERE host_id = ? ORDER BY superseded_at, boot_id", hostID).Scan(&older).Error; err != nil {
		return boot.Host{}, fmt.Errorf("read the older processes of host %s: %w", hostID, err)
	}
	for _, o := range older {
		h.Older = append(h.Older, boot.Older{ID: o.BootID, Probe: o.Probe})
	}
	return h, nil
}

// writeBoots stores what became of a host's processes.
func writeBoots(tx *database.Tx, hostID string, was, h boot.Host) error {
	if was.Newest != h.Newest {
		err := tx.Exec("UPDATE hosts SET boot_id = ?, boot_number = ?, boot_seq = ?, boot_mark = ? WHERE id = ?",
			h.Newest.ID, h.Newest.Number, h.Newest.Seq, h.Newest.Mark, hostID).Error
		if err != nil {
			return fmt.Errorf("write the newest process of host %s: %w", hostID, err)
		}
	}
	for _, o := range was.Older {
		if !slices.ContainsFunc(h.Older, func(n boot.Older) bool { return n.ID == o.ID }) {
			if err := tx.Exec("DELETE FROM older_boots WHERE host_id = ? AND boot_id = ?", hostID, o.ID).Error; err != nil {
				return fmt.Errorf("forget an older process of host %s: %w", hostID, err)
			}
		}
	}
	for _, o := range h.Older {
		if slices.Contains(was.Older, o) {
			continue
		}
		err := tx.Exec(`INSERT INTO older_boots (host_id, boot_id, probe, superseded_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (host_id, boot_id) DO UPDATE SET probe = excluded.probe`, hostID, o.ID, o.Probe, tx.Now).Error
		if err != nil {
			return fmt.Errorf("write an older process of host %s: %w", hostID, err)
		}
	}
	if h.Alarm && !was.Alarm {
		return raiseAlarm(tx, hostID)
	}
	return nil
}

const cloneMessage = "Two agents speak with this host's identity: the machine was copied with its state, or an old copy came back. " +
	"Neither gets new jobs. Switch one off and clear this alarm, or revoke the host and enroll both anew."

func raiseAlarm(tx *database.Tx, hostID string) error {
	if err := tx.Exec("UPDATE hosts SET clone_alarm_at = ?, clone_alarm = ? WHERE id = ?", tx.Now, cloneMessage, hostID).Error; err != nil {
		return fmt.Errorf("raise the clone alarm of host %s: %w", hostID, err)
	}
	tx.Notify(database.TopicHosts, database.TopicHost(hostID), database.TopicWake(hostID))
	return tx.Audit(database.System, "host.clone_alarm", "host:"+hostID, nil)
}

// forgetBoots clears the clone alarm and forgets all processes of a host: the one that lives says hello again.
func (s *Store) forgetBoots(tx *database.Tx, hostID string) error {
	err := tx.Exec(`UPDATE hosts SET clone_alarm_at = NULL, clone_alarm = '', boot_id = '', boot_number = 0, boot_seq = 0, boot_mark = ''
		WHERE id = ?`, hostID).Error
	if err != nil {
		return fmt.Errorf("forget the processes of host %s: %w", hostID, err)
	}
	if err := tx.Exec("DELETE FROM older_boots WHERE host_id = ?", hostID).Error; err != nil {
		return fmt.Errorf("forget the older processes of host %s: %w", hostID, err)
	}
	tx.Notify(database.TopicWake(hostID))
	return nil
}

func newMark() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Hello takes a process's word on itself and its machine, and gives a verdict on each job folder it has. It
// ends nothing. Errors are protocol_too_old (426) and boot_superseded (409).
func (s *Store) Hello(ctx context.Context, hostID string, r wire.HelloRequest) (wire.HelloReply, error) {
	s.Seen(hostID)
	if err := s.checkHello(r); err != nil {
		return wire.HelloReply{}, err
	}
	r = cleanHello(r)
	var reply wire.HelloReply
	var refused error
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		reply, refused, err = s.hello(tx, hostID, r)
		return err
	})
	if err != nil {
		return wire.HelloReply{}, fmt.Errorf("hello of host %s: %w", hostID, err)
	}
	return reply, refused
}

func (s *Store) checkHello(r wire.HelloRequest) error {
	if r.ProtocolVersion < wire.MinProtocolVersion {
		e := fault.New(fault.UpgradeRequired, wire.ProblemProtocolTooOld,
			"this agent speaks protocol %d, the server needs %d at least; upgrade the agent", r.ProtocolVersion, wire.MinProtocolVersion)
		e.MinProtocolVersion, e.HelpURL = wire.MinProtocolVersion, s.settings.HelpURL
		return e
	}
	if wire.CheckName(r.BootID) != nil || len(r.BootID) > 64 {
		return fault.Invalidf("boot_id: give the id of this process")
	}
	if r.BootNumber < 1 || r.Seq < 0 {
		return fault.Invalidf("boot_number, seq: give the number of this process, from 1 on, and of this message")
	}
	if len(r.Jobs) > wire.MaxPollJobs {
		return fault.Invalidf("jobs: at most %d", wire.MaxPollJobs)
	}
	return nil
}

func (s *Store) hello(tx *database.Tx, hostID string, r wire.HelloRequest) (wire.HelloReply, error, error) {
	if err := lockReported(tx, hostID, r.Repositories); err != nil {
		return wire.HelloReply{}, nil, err
	}
	was, err := lockBoots(tx, hostID)
	if err != nil {
		return wire.HelloReply{}, nil, err
	}
	h, answer, refused := was.Hello(r.BootID, r.BootNumber, r.Seq, newMark())
	if refused != nil {
		return wire.HelloReply{}, refused, nil
	}
	if err := writeBoots(tx, hostID, was, h); err != nil {
		return wire.HelloReply{}, nil, err
	}
	if answer.Refresh {
		if err := s.refresh(tx, hostID, r); err != nil {
			return wire.HelloReply{}, nil, err
		}
	}
	verdicts, err := s.verdicts(tx, hostID, r.Jobs)
	if err != nil {
		return wire.HelloReply{}, nil, err
	}
	tx.Notify(database.TopicWake(hostID))
	return wire.HelloReply{ServerTime: tx.Now, Mark: answer.Mark, Settings: s.agentSettings(), Jobs: verdicts}, nil, nil
}

// refresh writes what the hello says of the machine.
func (s *Store) refresh(tx *database.Tx, hostID string, r wire.HelloRequest) error {
	host, err := lockHost(tx, hostID)
	if err != nil {
		return err
	}
	texts := make([]string, 6)
	for i, v := range []any{r.Facts, r.Guard, r.Kinds, r.Repositories, r.Features, r.Hooks} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		texts[i] = string(raw)
	}
	skew := 0.0
	if !r.Now.IsZero() {
		skew = min(max(r.Now.Sub(tx.Now).Seconds(), -1e9), 1e9)
	}
	err = tx.Exec(`UPDATE hosts SET hostname = ?, facts = ?, guard = ?, guard_broken = ?, kinds = ?, reported_repositories = ?, features = ?, hooks = ?, agent_version = ?,
		restic_version = ?, protocol_version = ?, skew_seconds = ?, hello_at = ? WHERE id = ?`,
		r.Facts.Hostname, texts[0], texts[1], r.Guard.Broken != "", texts[2], texts[3], texts[4], texts[5], r.AgentVersion, r.ResticVersion, r.ProtocolVersion, skew, tx.Now, hostID).Error
	if err != nil {
		return fmt.Errorf("write the facts: %w", err)
	}
	tx.Notify(database.TopicHosts, database.TopicHost(hostID))
	if err := s.recordHostname(tx, hostID, r.Facts.Hostname); err != nil {
		return err
	}
	if err := s.reportedRepository(tx, host, r.Repositories); err != nil {
		return err
	}
	if host.HelloAt != nil && host.Features == texts[4] && host.Hooks == texts[5] {
		return nil
	}
	return s.HostChanged(tx, hostID) // the agent may do more than before, or less, or has other hooks
}

// lockReported locks the repository that a hello may tie its host to: that lock comes before the host's. In
// the usual case the host is tied to it already.
func lockReported(tx *database.Tx, hostID string, now []wire.RepositoryReport) error {
	id := job.Tie{}.Reported(nil, now).ID
	if id == "" {
		return nil
	}
	var others []string
	err := tx.Raw("SELECT id FROM hosts WHERE id = ? AND coalesce(repository_id, '') <> ?", hostID, id).Scan(&others).Error
	if err != nil {
		return fmt.Errorf("look for the repository of host %s: %w", hostID, err)
	}
	if len(others) == 0 {
		return nil
	}
	return lockRepository(tx, id)
}

// reportedRepository ties the host to the repository that its own configuration names, or unties it.
func (s *Store) reportedRepository(tx *database.Tx, host hostRow, now []wire.RepositoryReport) error {
	var before []wire.RepositoryReport
	if err := json.Unmarshal([]byte(host.ReportedRepositories), &before); err != nil {
		return fmt.Errorf("read the repositories of host %s: %w", host.ID, err)
	}
	was, err := tieOf(tx, host)
	if err != nil {
		return err
	}
	switch t := was.Reported(before, now); {
	case t == was:
		return nil
	case t.ID == "":
		return untieHosts(tx, []string{host.ID})
	default:
		if err := lockRepository(tx, t.ID); err != nil {
			return err
		}
		return tieRepository(tx, host.ID, t.ID)
	}
}

// verdicts answers the job folders that a hello names, and renews their leases.
func (s *Store) verdicts(tx *database.Tx, hostID string, reports []wire.JobReport) ([]wire.JobVerdict, error) {
	refs := make([]wire.JobRef, 0, len(reports))
	for _, r := range reports {
		if wire.IsUUID(r.ID) {
			refs = append(refs, wire.JobRef{ID: r.ID, Lease: r.Lease})
		}
	}
	jobs := map[string]job.Job{}
	if err := readNamed(tx.DB, hostID, refs, jobs); err != nil {
		return nil, err
	}
	verdicts := make([]wire.JobVerdict, 0, len(refs))
	now := s.db.Clock()
	for _, ref := range refs {
		s.pulse.renewAt(ref.ID, ref.Lease, now)
		verdicts = append(verdicts, wire.JobVerdict{ID: ref.ID, Verdict: job.Verdict(jobs, ref, tx.Now)})
	}
	return verdicts, nil
}

const (
	maxVersion      = 64
	maxFact         = 1024
	maxKinds        = 50
	maxRepositories = 20
)

// cleanHello makes a hello fit for storing and showing.
func cleanHello(r wire.HelloRequest) wire.HelloRequest {
	short := func(s *string, limit int) { *s = cleanLine(*s, limit) }
	short(&r.AgentVersion, maxVersion)
	short(&r.ResticVersion, maxVersion)
	f := &r.Facts
	short(&f.Hostname, maxHostname)
	for _, s := range []*string{&f.OS, &f.Arch, &f.AgentVersion, &f.ResticVersion} {
		short(s, maxVersion)
	}
	for _, s := range []*string{&f.OSVersion, &f.TimeZone, &r.Guard.Summary, &r.Guard.Broken} {
		short(s, maxFact)
	}
	short(&f.ResticPath, maxIssuePath)
	short(&f.RestoreRoot, maxIssuePath)
	if !wire.IsSHA256(r.Guard.SHA256) {
		r.Guard.SHA256 = ""
	}
	r.Kinds, r.Guard.Kinds, r.Features = cleanKinds(r.Kinds), cleanKinds(r.Guard.Kinds), cleanFeatures(r.Features)
	r.Hooks = cleanHooks(r.Hooks)
	repositories := make([]wire.RepositoryReport, 0, min(len(r.Repositories), maxRepositories))
	for _, x := range r.Repositories[:min(len(r.Repositories), maxRepositories)] {
		if !wire.IsSHA256(x.ID) {
			x.ID = ""
		}
		repositories = append(repositories, wire.RepositoryReport{
			Name: cleanLine(x.Name, maxFact), ID: x.ID, Location: cleanLine(x.Location, maxIssuePath),
		})
	}
	r.Repositories = repositories
	return r
}

// cleanKinds keeps names only: also of kinds that this server does not know.
func cleanKinds(kinds []wire.Kind) []wire.Kind {
	clean := make([]wire.Kind, 0, min(len(kinds), maxKinds))
	for _, k := range kinds[:min(len(kinds), maxKinds)] {
		if wire.CheckName(string(k)) == nil {
			clean = append(clean, k)
		}
	}
	return clean
}

// maxFeatures bounds how many features of an agent are kept.
const maxFeatures = 20

func cleanFeatures(all []string) []string {
	clean := []string{}
	for _, f := range all[:min(len(all), maxFeatures)] {
		if wire.CheckName(f) == nil && !slices.Contains(clean, f) {
			clean = append(clean, f)
		}
	}
	return clean
}

// cleanHooks keeps names only, sorted.
func cleanHooks(all []string) []string {
	clean := []string{}
	for _, name := range all[:min(len(all), wire.MaxHostHooks)] {
		if wire.CheckHookName(name) == nil {
			clean = append(clean, name)
		}
	}
	slices.Sort(clean)
	return slices.Compact(clean)
}
