package wire

import (
	"net/url"
	"reflect"
	"testing"
	"time"
)

const (
	uuid  = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"
	lease = "00112233445566778899aabbccddeeff"
)

func TestPollQuerySurvivesTheURL(t *testing.T) {
	for _, want := range []PollQuery{
		{Boot: "b", Wait: 25 * time.Second, Seq: 7, Mark: "m", FreeLong: 1, FreeShort: 1, Config: "v1"},
		{Boot: "b", Jobs: []JobRef{{ID: uuid, Lease: lease}, {ID: uuid}}},
	} {
		v, err := url.ParseQuery(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParsePollQuery(v)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestParsePollQueryNamesWhatIsWrong(t *testing.T) {
	for _, q := range []string{
		"", "boot=", "boot=b&wait=61", "boot=b&wait=-1", "boot=b&wait=x", "boot=b&free_long=101", "boot=b&jobs=x",
		"boot=b&jobs=" + uuid, "boot=b&jobs=" + uuid + ":short", "boot=a%00b", "boot=b&seq=-1",
	} {
		v, err := url.ParseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParsePollQuery(v); err == nil {
			t.Errorf("%q: got %+v, want an error", q, got)
		}
	}
}

func TestParseLogQuery(t *testing.T) {
	sum := lease + lease
	good := LogQuery{FirstLine: 3, Lines: 2, SumBefore: sum}
	v, _ := url.ParseQuery(good.Encode())
	if got, err := ParseLogQuery(v); err != nil || got != good {
		t.Errorf("got %+v, %v, want %+v", got, err, good)
	}
	if _, err := ParseLogQuery(url.Values{"first_line": {"1"}, "lines": {"0"}}); err != nil {
		t.Errorf("a request without lines learns the cursor: %v", err)
	}
	for _, q := range []string{"", "first_line=0&lines=0", "first_line=1&lines=1", "first_line=1&lines=-1", "first_line=1&lines=1&sum_before=x"} {
		v, _ := url.ParseQuery(q)
		if got, err := ParseLogQuery(v); err == nil {
			t.Errorf("%q: got %+v, want an error", q, got)
		}
	}
}

func TestEveryKindHasARowAndASpec(t *testing.T) {
	for _, i := range Kinds {
		s, err := NewSpec(i.Kind)
		if err != nil || s.Kind() != i.Kind {
			t.Errorf("%s: got %v, %v", i.Kind, s, err)
		}
		if i.Lane == "" || i.Hold == "" || i.TimeLimit <= 0 {
			t.Errorf("%s: its row is not whole: %+v", i.Kind, i)
		}
	}
	if _, ok := Kind("shell").Info(); ok {
		t.Error("an unknown kind has a row")
	}
}

func TestTerminalStates(t *testing.T) {
	live := 0
	for _, s := range States {
		if !s.Terminal() {
			live++
		}
		if s.Success() && !s.Terminal() {
			t.Errorf("%s is a success and not an end", s)
		}
	}
	if live != 3 {
		t.Errorf("got %d states that are not terminal, want 3", live)
	}
}
