package database

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestIDsSortByTheirTime: to the microsecond, and within one by the order in which they were made.
func TestIDsSortByTheirTime(t *testing.T) {
	at := time.Date(2027, 3, 1, 12, 0, 0, 999_999_000, time.UTC)
	last := ""
	for range 2000 {
		for range 3 {
			id := NewIDAt(at)
			if id <= last {
				t.Fatalf("%s came after %s", id, last)
			}
			if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != 7 || parsed.Variant() != uuid.RFC4122 {
				t.Fatalf("%s is no UUIDv7: %v", id, err)
			}
			if first, next := FirstIDAt(at), FirstIDAt(at.Add(time.Microsecond)); id < first || id >= next {
				t.Fatalf("%s of %s is not between %s and %s", id, at, first, next)
			}
			last = id
		}
		at = at.Add(time.Microsecond)
	}
}
