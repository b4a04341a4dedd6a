package access

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
)

// trail writes one row a minute.
func (e *env) trail(t *testing.T, rows ...database.Entry) (start time.Time) {
	t.Helper()
	start = e.clock.Now()
	for _, r := range rows {
		a := database.Actor{Kind: "operator", Name: r.ActorName, Address: address}
		if r.ActorID != nil {
			a.ID = *r.ActorID
		}
		err := e.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Audit(a, r.Action, r.Target, map[string]any{"n": 1}) })
		if err != nil {
			t.Fatal(err)
		}
		e.clock.Advance(time.Minute)
	}
	return start
}

func TestTheAuditTrailIsFiltered(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		id := database.NewID()
		start := e.trail(t,
			database.Entry{Action: "host.revoke", Target: "host:1", ActorName: "ann", ActorID: &id},
			database.Entry{Action: "host.rename", Target: "host:12", ActorName: "bob"},
			database.Entry{Action: "hostage.free", Target: "host%", ActorName: "ann"},
			database.Entry{Action: "job.create", Target: "job:1", ActorName: "ann", ActorID: &id},
		)
		minute := func(n int) *time.Time { at := start.Add(time.Duration(n) * time.Minute); return &at }
		for i, c := range []struct {
			f    AuditFilter
			want []string // newest first
		}{
			{AuditFilter{}, []string{"job.create", "hostage.free", "host.rename", "host.revoke"}},
			{AuditFilter{Action: "host"}, []string{"host.rename", "host.revoke"}},
			{AuditFilter{Action: "host.revoke"}, []string{"host.revoke"}},
			{AuditFilter{Action: "%"}, nil},
			{AuditFilter{Action: "ho_t"}, nil},
			{AuditFilter{Action: "x\x00\xff"}, nil},
			{AuditFilter{Target: "host:1"}, []string{"host.revoke"}},
			{AuditFilter{Target: "host"}, []string{"host.rename", "host.revoke"}},
			{AuditFilter{Actor: "ann"}, []string{"job.create", "hostage.free", "host.revoke"}},
			{AuditFilter{Actor: id}, []string{"job.create", "host.revoke"}},
			{AuditFilter{Actor: "nobody"}, nil},
			{AuditFilter{Before: minute(2)}, []string{"host.rename", "host.revoke"}},
			{AuditFilter{After: minute(2)}, []string{"job.create", "hostage.free"}},
			{AuditFilter{After: minute(1), Before: minute(3), Actor: "ann"}, []string{"hostage.free"}},
		} {
			entries, next, err := e.Audit(t.Context(), c.f, Page{})
			var got []string
			for _, entry := range entries {
				got = append(got, entry.Action)
			}
			if err != nil || next != "" || !slices.Equal(got, c.want) {
				t.Errorf("case %d: got %v %q, %v; want %v", i, got, next, err, c.want)
			}
		}
		entries, _, err := e.Audit(t.Context(), AuditFilter{Action: "host.revoke"}, Page{})
		if err != nil {
			t.Fatal(err)
		}
		got, want := entries[0], AuditEntry{ID: entries[0].ID, At: start, Actor: AuditActor{Kind: "operator", ID: id, Name: "ann", Address: address}, Action: "host.revoke", Target: "host:1", Detail: map[string]any{"n": 1.0}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestTheAuditTrailIsPagedWithoutGapOrRepetition(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		var rows []database.Entry
		for i := range 7 {
			rows = append(rows, database.Entry{Action: fmt.Sprintf("x.%d", i), Target: "x"})
		}
		e.trail(t, rows[:3]...)
		err := e.db.Write(t.Context(), func(tx *database.Tx) error { // at one moment
			for _, r := range rows[3:] {
				if err := tx.Audit(console, r.Action, r.Target, nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for cursor, n := "", 0; n < 10; n++ {
			entries, next, err := e.Audit(t.Context(), AuditFilter{}, Page{Cursor: cursor, Limit: 2})
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				got = append(got, entry.Action)
			}
			if cursor = next; next == "" {
				break
			}
		}
		if want := []string{"x.6", "x.5", "x.4", "x.3", "x.2", "x.1", "x.0"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, cursor := range []string{"!", "x", encodeCursor("yesterday x"), encodeCursor("2026-11-24T08:00:00Z x")} {
			_, _, err := e.Audit(t.Context(), AuditFilter{}, Page{Cursor: cursor})
			wantCode(t, cursor, err, "invalid")
		}
	})
}
