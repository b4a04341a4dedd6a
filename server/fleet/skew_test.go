package fleet

import (
	"testing"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// TestLineShowsTheSameTimeWheneverItIsRead: a job's times are corrected by the skew of its start, live and
// afterwards, though a later hello measures another one.
func TestLineShowsTheSameTimeWheneverItIsRead(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		skew := func(seconds float64) {
			t.Helper()
			err := x.db.Write(t.Context(), func(tx *database.Tx) error {
				return tx.Exec("UPDATE hosts SET skew_seconds = ? WHERE id = ?", seconds, h).Error
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		skew(86_400)
		id := x.runningJob(h)
		if _, err := x.put(h, id, [][]byte{records("scan finished")}, 1, 1); err != nil {
			t.Fatal(err)
		}
		line := func() LogLine {
			t.Helper()
			page, err := x.LogLines(t.Context(), id, 0, 10, 0)
			if err != nil || len(page.Lines) != 1 {
				t.Fatalf("got %+v, %v, want one line", page, err)
			}
			return page.Lines[0]
		}
		live := line()
		skew(86_399.9)
		if got := line(); !got.Time.Equal(live.Time) {
			t.Errorf("after another hello: got %v, want %v as before", got.Time, live.Time)
		}
		x.end(h, id, 1, wire.StateSucceeded)
		if got := line(); !got.Time.Equal(live.Time) {
			t.Errorf("after the end: got %v, want %v as before", got.Time, live.Time)
		}
		var stored float64
		if err := x.db.Read(t.Context()).Raw("SELECT skew_seconds FROM jobs WHERE id = ?", id).Scan(&stored).Error; err != nil || stored != 86_400 {
			t.Errorf("the job's skew: got %v, %v, want that of its start, 86400", stored, err)
		}
	})
}
