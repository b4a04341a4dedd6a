package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// RotationState is how far a repository's password is on its way to another one.
type RotationState string

// The states of a rotation. Those before RotationDone are open; a repository has one open rotation at most.
const (
	RotationAdding   RotationState = "adding"   // the old password is in force, the new one is being added
	RotationSwitched RotationState = "switched" // the new password is in force, the old one still opens
	RotationDone     RotationState = "done"
	RotationGivenUp  RotationState = "given_up"
)

// Rotation is a repository's way to another password: no secret. See docs/protocol.md, "Another password for a repository".
type Rotation struct {
	State      RotationState `json:"state" enum:"adding,switched,done,given_up" doc:"adding: the old password is in force; switched: the new one is, and the old one still opens"`
	Host       *NamedHost    `json:"host,omitempty" doc:"The machine that does it"`
	JobID      string        `json:"job_id,omitempty" doc:"The step under way"`
	Why        string        `json:"why,omitempty" doc:"What keeps it from going on"`
	NextAt     *time.Time    `json:"next_at,omitempty" doc:"When it is tried again"`
	CreatedBy  string        `json:"created_by"`
	StartedAt  time.Time     `json:"started_at"`
	SwitchedAt *time.Time    `json:"switched_at,omitempty"`
	EndedAt    *time.Time    `json:"ended_at,omitempty"`
}

// rotationRow is a row of key_rotations.
type rotationRow struct {
	ID           string        `gorm:"column:id;primaryKey"`
	SettingID    string        `gorm:"column:setting_id"`
	HostID       *string       `gorm:"column:host_id"`
	State        RotationState `gorm:"column:state"`
	SealedSecond []byte        `gorm:"column:sealed_second"`
	JobID        *string       `gorm:"column:job_id"`
	Tries        int64         `gorm:"column:tries"`
	NextAt       time.Time     `gorm:"column:next_at"`
	Why          string        `gorm:"column:why"`
	CreatedBy    string        `gorm:"column:created_by"`
	StartedAt    time.Time     `gorm:"column:started_at"`
	SwitchedAt   *time.Time    `gorm:"column:switched_at"`
	EndedAt      *time.Time    `gorm:"column:ended_at"`
}

// TableName is key_rotations.
func (rotationRow) TableName() string { return "key_rotations" }

// How long a step that failed waits to be ordered again: doubling. switchWait is how long hosts that keep the schedule by
// themselves have to take the new password.
const (
	rotationRetry    = 5 * time.Minute
	rotationMaxRetry = 6 * time.Hour
	switchWait       = 24 * time.Hour
	// switchSlack is how long the switch itself may take: what is accepted meanwhile still gets the old password.
	switchSlack = 5 * time.Minute
)

// write stores the row, which is locked by its setting's lock.
func (r rotationRow) write(tx *database.Tx) error {
	err := tx.Model(&rotationRow{}).Where("id = ?", r.ID).Select("*").Omit("id", "setting_id", "created_by", "started_at").Updates(&r).Error
	if err != nil {
		return fmt.Errorf("write the rotation of repository %s: %w", r.SettingID, err)
	}
	tx.Notify(database.TopicRepositories)
	return nil
}

// openRotation is the one that has not ended; ok is false when there is none. The caller has the setting locked.
func openRotation(tx *database.Tx, settingID string) (r rotationRow, ok bool, err error) {
	var rows []rotationRow
	err = tx.Raw("SELECT * FROM key_rotations WHERE setting_id = ? AND state IN ('adding', 'switched')", settingID).Scan(&rows).Error
	if err != nil {
		return r, false, fmt.Errorf("read the rotation of repository %s: %w", settingID, err)
	}
	if len(rows) == 0 {
		return r, false, nil
	}
	return rows[0], true, nil
}

func notRotating(tx *database.Tx, settingID string) error {
	_, open, err := openRotation(tx, settingID)
	if err == nil && open {
		return fault.New(fault.Conflict, "rotation_open", "the password of this repository is being changed: wait until that has ended, or give it up first")
	}
	return err
}

// Rotate has the repository get another password, with no moment without one that opens it. hostID is the machine that
// does it; empty: the one that maintains the repository, else one that uses it. One that is open goes on at once, on that
// machine.
func (s *Store) Rotate(ctx context.Context, actor database.Actor, id, hostID string) (Repository, error) {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		if perHost(row.URL) {
			return fault.New(fault.Conflict, "rotation_per_host", "each host has a repository of its own here, all with this password: all of them would have to be there at one moment. "+
				"Set up a new repository without that, or add the new password to each by restic key add and then change it here")
		}
		if hostID, err = rotationHost(tx, row, hostID); err != nil {
			return err
		}
		if err := mayRotate(tx, hostID); err != nil {
			return err
		}
		if err := othersUse(tx, id); err != nil {
			return err
		}
		r, open, err := openRotation(tx, id)
		if err != nil {
			return err
		}
		if open {
			j, err := r.job(tx)
			if err != nil {
				return err
			}
			if j.State.Terminal() && !j.State.Success() {
				r.JobID = nil // a person does not wait for the next try
			}
			r.HostID, r.NextAt, r.Tries = &hostID, tx.Now, 0
			if err := r.write(tx); err != nil {
				return err
			}
		} else {
			r = rotationRow{ID: database.NewIDAt(tx.Now), SettingID: id, HostID: &hostID, State: RotationAdding, NextAt: tx.Now, CreatedBy: actor.Name, StartedAt: tx.Now}
			r.SealedSecond = s.fleet.Seal("key_rotations", r.ID, "sealed_second", []byte(newPassword()))
			if err := tx.Create(&r).Error; err != nil {
				return fmt.Errorf("begin the rotation: %w", err)
			}
			tx.Notify(database.TopicRepositories)
		}
		if err := s.advance(tx, row, r); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.rotate", "repository:"+id, map[string]any{"name": row.Name, "host": hostID, "resumed": open})
	})
	if err != nil {
		return Repository{}, fmt.Errorf("rotate the key of repository %s: %w", id, err)
	}
	return s.ByID(ctx, id)
}

// rotationHost is the machine that is to do it.
func rotationHost(tx *database.Tx, row settingRow, asked string) (string, error) {
	switch {
	case asked != "" && !wire.IsUUID(asked):
		return "", fault.Invalidf("host_id: there is no such host")
	case asked != "":
		return asked, nil
	case row.RunnerID != nil:
		return *row.RunnerID, nil
	}
	var hosts []string
	err := tx.Raw(`SELECT h.id FROM host_repositories hr JOIN hosts h ON h.id = hr.host_id
		WHERE hr.setting_id = ? AND h.revoked_at IS NULL ORDER BY CASE WHEN h.status = 'online' THEN 0 ELSE 1 END, h.name_key LIMIT 1`, row.ID).Scan(&hosts).Error
	if err != nil {
		return "", fmt.Errorf("find a host of repository %s: %w", row.ID, err)
	}
	if len(hosts) == 0 {
		return "", fault.New(fault.Conflict, "no_runner", "no machine uses or maintains this repository: choose one that is to do it (host_id)")
	}
	return hosts[0], nil
}

// mayRotate is a conflict where the host could not do it, or its guard would refuse it.
func mayRotate(tx *database.Tx, hostID string) error {
	var rows []struct {
		Name, Guard, Kinds string
		RevokedAt          *time.Time
	}
	if err := tx.Raw("SELECT name, guard, kinds, revoked_at FROM hosts WHERE id = ?", hostID).Scan(&rows).Error; err != nil {
		return fmt.Errorf("read host %s: %w", hostID, err)
	}
	if len(rows) == 0 {
		return fault.Invalidf("host_id: there is no such host")
	}
	h := rows[0]
	var guard *wire.GuardReport
	var kinds []wire.Kind
	if err := errors.Join(json.Unmarshal([]byte(h.Guard), &guard), json.Unmarshal([]byte(h.Kinds), &kinds)); err != nil {
		return fmt.Errorf("read host %s: %w", hostID, err)
	}
	switch {
	case h.RevokedAt != nil:
		return fleet.ErrHostRevoked()
	case !slices.Contains(kinds, wire.KindRotateKey):
		return fault.New(fault.Conflict, "kind_unsupported", "the agent on %q does not know how to change a repository's password; upgrade it, or choose another machine (host_id)", h.Name)
	case guard != nil && guard.Broken != "":
		return fault.New(fault.Conflict, "guard_broken", "the guard of %q is broken and refuses everything: %s", h.Name, guard.Broken)
	case guard != nil && guard.Kinds != nil && !slices.Contains(guard.Kinds, wire.KindRotateKey):
		return fault.New(fault.Conflict, "guard_forbids", "the guard of %q does not allow it to change the password: set maintenance: {keys: true} in guard.yaml there, or choose another machine (host_id)", h.Name)
	}
	return nil
}

// othersUse is a conflict where hosts open the same repository by a password that the server does not hand out: they
// would be locked out.
func othersUse(tx *database.Tx, id string) error {
	var names []string
	err := tx.Raw(`SELECT h.name FROM hosts h LEFT JOIN host_repositories hr ON hr.host_id = h.id
		WHERE h.revoked_at IS NULL AND h.repository_id IN (SELECT repository_id FROM repository_maintenance WHERE setting_id = @id)
			AND (hr.setting_id IS NULL OR hr.setting_id <> @id) ORDER BY h.name_key LIMIT 4`, map[string]any{"id": id}).Scan(&names).Error
	if err != nil {
		return fmt.Errorf("find who else uses repository %s: %w", id, err)
	}
	if len(names) == 0 {
		return nil
	}
	and := ""
	if len(names) > 3 {
		names, and = names[:3], " and others"
	}
	return fault.New(fault.Conflict, "repository_shared", "%s%s open the same repository by another setting or by their own agent.yaml, and would be locked out: have them use this repository first",
		strings.Join(names, ", "), and)
}

// GiveUpRotation ends a rotation that cannot go on. Whichever password is in force stays; the other one may stay a key of
// the repository.
func (s *Store) GiveUpRotation(ctx context.Context, actor database.Actor, id string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, err := lockSetting(tx, id)
		if err != nil {
			return err
		}
		r, open, err := openRotation(tx, id)
		if err != nil {
			return err
		}
		if !open {
			return fault.New(fault.Conflict, "no_rotation", "the password of this repository is not being changed")
		}
		if j, err := r.job(tx); err != nil || j.open() {
			if err == nil {
				err = fault.New(fault.Conflict, "job_open", "a step of it has not ended: cancel its job first, or wait")
			}
			return err
		}
		detail := map[string]any{"name": row.Name, "was": r.State}
		r.State, r.JobID, r.SealedSecond, r.EndedAt = RotationGivenUp, nil, []byte{}, &tx.Now
		if err := r.write(tx); err != nil {
			return err
		}
		return tx.Audit(actor, "repository.rotate_give_up", "repository:"+id, detail)
	})
	if err != nil {
		return fmt.Errorf("give up the rotation of repository %s: %w", id, err)
	}
	return nil
}

// rotateAll leads every open rotation on.
func (s *Store) rotateAll(ctx context.Context) error {
	var ids []string
	err := s.db.Read(ctx).Raw("SELECT setting_id FROM key_rotations WHERE state IN ('adding', 'switched') ORDER BY setting_id").Scan(&ids).Error
	if err != nil {
		return fmt.Errorf("look for rotations of keys: %w", err)
	}
	var failed error
	for _, id := range ids {
		err := s.db.Write(ctx, func(tx *database.Tx) error {
			row, err := lockSetting(tx, id)
			if err != nil {
				return err
			}
			r, open, err := openRotation(tx, id)
			if err != nil || !open {
				return err
			}
			return s.advance(tx, row, r)
		})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("rotate the key of repository %s: %w", id, err))
		}
	}
	return failed
}

// step is the job of a rotation.
type step struct {
	State        wire.State
	ErrorMessage string
}

func (j step) open() bool { return j.State != "" && !j.State.Terminal() }

// job reads the step that was ordered last; the zero step: there is none.
func (r rotationRow) job(tx *database.Tx) (step, error) {
	if r.JobID == nil {
		return step{}, nil
	}
	var rows []step
	if err := tx.Raw("SELECT state, error_message FROM jobs WHERE id = ?", *r.JobID).Scan(&rows).Error; err != nil {
		return step{}, fmt.Errorf("read a step of the rotation: %w", err)
	}
	if len(rows) == 0 {
		return step{State: wire.StateLost, ErrorMessage: "its job is gone, with the machine that had it"}, nil
	}
	return rows[0], nil
}

// advance does what is next of a rotation. The setting is locked, so that no two do it.
func (s *Store) advance(tx *database.Tx, row settingRow, r rotationRow) error {
	j, err := r.job(tx)
	switch {
	case err != nil || j.open():
		return err
	case j.State.Success() && r.State == RotationAdding:
		return s.switchPassword(tx, row, &r) // what follows locks another host: it is for the next time
	case j.State.Success():
		r.State, r.JobID, r.SealedSecond, r.Why, r.EndedAt = RotationDone, nil, []byte{}, "", &tx.Now
		if err := r.write(tx); err != nil {
			return err
		}
		return tx.Audit(database.System, "repository.rotated", "repository:"+row.ID, map[string]any{"name": row.Name})
	case j.State != "":
		why := fmt.Sprintf("its job ended as %s", j.State)
		if j.ErrorMessage != "" {
			why += ": " + j.ErrorMessage
		}
		r.again(tx.Now, why)
		return r.write(tx)
	}
	if r.NextAt.After(tx.Now) {
		return nil
	}
	return s.orderStep(tx, r)
}

// again has the step wait before it is ordered once more.
func (r *rotationRow) again(now time.Time, why string) {
	r.JobID, r.Why = nil, why
	r.NextAt = now.Add(min(rotationRetry<<min(r.Tries, 10), rotationMaxRetry))
	r.Tries++
}

// switchPassword: the new password opens the repository, and is the one that counts from now on.
func (s *Store) switchPassword(tx *database.Tx, row settingRow, r *rotationRow) error {
	secrets, err := s.open(row)
	if err != nil {
		return err
	}
	second, err := s.fleet.Unseal("key_rotations", r.ID, "sealed_second", r.SealedSecond)
	if err != nil {
		return err
	}
	r.SealedSecond = s.fleet.Seal("key_rotations", r.ID, "sealed_second", []byte(secrets.Password))
	secrets.Password = string(second)
	row.SealedPassword = s.fleet.Seal("repository_settings", row.ID, "sealed_password", second)
	row.UpdatedAt, row.SecretsChangedAt = tx.Now, tx.Now
	if err := tx.Model(&settingRow{}).Where("id = ?", row.ID).Select("sealed_password", "updated_at", "secrets_changed_at").Updates(&row).Error; err != nil {
		return fmt.Errorf("switch the password: %w", err)
	}
	if err := s.rewrite(tx, row, row, secrets); err != nil {
		return err
	}
	r.State, r.JobID, r.SwitchedAt, r.Tries, r.NextAt, r.Why = RotationSwitched, nil, &tx.Now, 0, tx.Now, ""
	if err := r.write(tx); err != nil {
		return err
	}
	tx.Notify(database.TopicHosts)
	return tx.Audit(database.System, "repository.rotate_switch", "repository:"+row.ID, map[string]any{"name": row.Name})
}

// orderStep orders the step that is next, or says what is in its way.
func (s *Store) orderStep(tx *database.Tx, r rotationRow) error {
	spec := &wire.RotateKeySpec{Step: wire.RotateAdd}
	if r.State == RotationSwitched {
		spec.Step = wire.RotateRemove
		why, err := stillInUse(tx, r)
		if err != nil {
			return err
		}
		if why != "" {
			if r.Why == why {
				return nil
			}
			r.Why = why
			return r.write(tx)
		}
	}
	id, err := s.stepJob(tx, r, spec)
	if f := fault.As(err); f != nil {
		r.again(tx.Now, f.Message)
		return r.write(tx)
	}
	if err != nil {
		return err
	}
	r.JobID, r.Why = &id, ""
	return r.write(tx)
}

func (s *Store) stepJob(tx *database.Tx, r rotationRow, spec wire.Spec) (string, error) {
	if r.HostID == nil {
		return "", fault.New(fault.Conflict, "no_runner", "the machine that did it is gone: begin again, and choose another one (host_id)")
	}
	if err := mayRotate(tx, *r.HostID); err != nil {
		return "", err
	}
	var known []string
	if err := tx.Raw("SELECT repository_id FROM repository_maintenance WHERE setting_id = ? AND host_id IS NULL", r.SettingID).Scan(&known).Error; err != nil {
		return "", fmt.Errorf("read what is in repository %s: %w", r.SettingID, err)
	}
	t := fleet.Target{SettingID: r.SettingID}
	if len(known) == 1 {
		t.RepositoryID = known[0]
	}
	id, _, err := s.fleet.Order(tx, database.System, fleet.NewJob{HostID: *r.HostID, Kind: spec.Kind(), Spec: spec, Target: &t})
	return id, err
}

// stillInUse says what the old key is still needed for; empty: nothing.
func stillInUse(tx *database.Tx, r rotationRow) (string, error) {
	if err := othersUse(tx, r.SettingID); err != nil {
		if f := fault.As(err); f != nil {
			return f.Message, nil
		}
		return "", err
	}
	var in struct{ Jobs, Hosts int64 }
	err := tx.Raw(`SELECT (SELECT count(*) FROM jobs j WHERE j.state IN ('accepted', 'running') AND coalesce(j.accepted_at, j.started_at) < @switched
			AND (j.target_setting = @id OR j.target_setting IS NULL AND j.host_id IN (SELECT host_id FROM host_repositories WHERE setting_id = @id))) AS jobs,
		(SELECT count(*) FROM hosts JOIN host_repositories hr ON hr.host_id = hosts.id WHERE hr.setting_id = @id AND hosts.revoked_at IS NULL
			AND hosts.schedule_known < hosts.schedule_version AND `+fleet.KeepsSchedule+`) AS hosts`,
		map[string]any{"id": r.SettingID, "switched": r.SwitchedAt.Add(switchSlack)}).Scan(&in).Error
	switch {
	case err != nil:
		return "", fmt.Errorf("look for what uses the old key: %w", err)
	case in.Jobs > 0:
		return "waits for jobs that began with the old password", nil
	case in.Hosts > 0 && tx.Now.Before(r.SwitchedAt.Add(switchWait)):
		return "waits, a day at most, until all machines have the new password", nil
	}
	return "", nil
}

// withSecond adds the other password to what a step gets; nil: there is no rotation any more.
func (s *Store) withSecond(ctx context.Context, settingID string, secrets *wire.Secrets) (*wire.Secrets, error) {
	var rows []rotationRow
	err := s.db.Read(ctx).Raw("SELECT * FROM key_rotations WHERE setting_id = ? AND state IN ('adding', 'switched')", settingID).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the rotation of repository %s: %w", settingID, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	second, err := s.fleet.Unseal("key_rotations", rows[0].ID, "sealed_second", rows[0].SealedSecond)
	if err != nil {
		return nil, err
	}
	secrets.SecondPassword = string(second)
	return secrets, nil
}

// lastRotation is the newest one of a repository, for people; nil: there was none.
func (s *Store) lastRotation(ctx context.Context, settingID string) (*Rotation, error) {
	var rows []struct {
		Row      rotationRow `gorm:"embedded"`
		HostName *string
	}
	err := s.db.Read(ctx).Raw(`SELECT r.*, h.name AS host_name FROM key_rotations r LEFT JOIN hosts h ON h.id = r.host_id
		WHERE r.setting_id = ? ORDER BY r.id DESC LIMIT 1`, settingID).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the rotation of repository %s: %w", settingID, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	r := rows[0].Row
	o := &Rotation{State: r.State, Why: r.Why, CreatedBy: r.CreatedBy, StartedAt: r.StartedAt.UTC(), SwitchedAt: database.InUTC(r.SwitchedAt), EndedAt: database.InUTC(r.EndedAt)}
	if r.HostID != nil && rows[0].HostName != nil {
		o.Host = &NamedHost{ID: *r.HostID, Name: *rows[0].HostName}
	}
	switch {
	case r.JobID != nil:
		o.JobID = *r.JobID
	case r.EndedAt == nil:
		o.NextAt = database.InUTC(&r.NextAt)
	}
	return o, nil
}
