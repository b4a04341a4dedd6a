package wire

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzPollQuery: a query that is taken keeps to its limits and says the same when it is written again.
func FuzzPollQuery(f *testing.F) {
	id, lease := "018f0000-0000-7000-8000-000000000001", strings.Repeat("ab", 16)
	f.Add(PollQuery{Wait: 25 * time.Second, Boot: "b", Seq: 7, Mark: "m", FreeLong: 1, FreeShort: 1, Jobs: []JobRef{{ID: id, Lease: lease}}, Config: "c"}.Encode())
	for _, s := range []string{"", "boot=b", "boot=b&wait=61", "boot=b&wait=-1", "boot=b&seq=9223372036854775807", "boot=b&jobs=" + id + ":", "boot=b&jobs=,", "boot=b&free_long=1e3", "boot=%00", "boot=b&boot=c", "boot=b&wait=+5", "%zz", "boot=b;x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := ParsePollQuery(v)
		if err != nil {
			return
		}
		if q.Wait < 0 || q.Wait > time.Minute || q.Seq < 0 || q.FreeLong < 0 || q.FreeShort < 0 || q.Boot == "" || len(q.Boot)+len(q.Mark)+len(q.Config) > 3*64 || len(q.Jobs) > MaxPollJobs {
			t.Errorf("%q: got %+v beyond its limits", raw, q)
		}
		for _, j := range q.Jobs {
			if !IsUUID(j.ID) || j.Lease != "" && !IsRandomHex(j.Lease) {
				t.Errorf("%q: got the job %+v", raw, j)
			}
		}
		again, err := url.ParseQuery(q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParsePollQuery(again); err != nil || !reflect.DeepEqual(got, q) {
			t.Errorf("%q: written again: got %+v, %v, want %+v", raw, got, err, q)
		}
	})
}

// FuzzLogQuery: what is taken says the same when it is written again.
func FuzzLogQuery(f *testing.F) {
	f.Add(LogQuery{FirstLine: 3, Lines: 2, SumBefore: strings.Repeat("ab", 32)}.Encode())
	for _, s := range []string{"first_line=0", "first_line=1&lines=0", "first_line=1&lines=1&sum_before=x", "first_line=9223372036854775807&lines=0", "first_line=1&lines=-1", "first_line=01&lines=+0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := ParseLogQuery(v)
		if err != nil {
			return
		}
		if q.FirstLine < 1 || q.Lines < 0 || q.Lines > MaxBody || q.Lines > 0 && !IsSHA256(q.SumBefore) {
			t.Errorf("%q: got %+v beyond its limits", raw, q)
		}
		again, _ := url.ParseQuery(q.Encode())
		if got, err := ParseLogQuery(again); err != nil || got != q {
			t.Errorf("%q: written again: got %+v, %v, want %+v", raw, got, err, q)
		}
	})
}
