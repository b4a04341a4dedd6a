package checkup

import "testing"

func TestALineTellsStateFindingAndWhatToDo(t *testing.T) {
	named := func(name string, r Result) Result { r.Name = name; return r }
	for want, r := range map[string]Result{
		"✓ tcp          connected in 3 ms\n":                                         named("tcp", Ok("connected in %d ms", 3)),
		"✗ tcp          refused\n               → open port 443\n":                   named("tcp", Fail("open port 443", "refused")),
		"! hold         20 s\n               → nothing to do\n":                      named("hold", Warn("nothing to do", "20 s")),
		"– repository   the server holds it\n":                                       named("repository", Skip("the server holds it")),
		"✗ answer       a page: ✓ all is well [2J\n               → ask for leave\n": named("answer", Fail("ask\nfor\tleave", "a page:\n✓ all is well\x1b[2J")),
	} {
		if got := r.Text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOnlyWhatIsWrongIsNotHealthy(t *testing.T) {
	well := []Result{Ok("x"), Warn("y", "x"), Skip("x")}
	if !Healthy(well) || !Healthy(nil) {
		t.Error("warnings and skipped checks: got not healthy, want healthy")
	}
	if Healthy(append(well, Fail("y", "x"))) {
		t.Error("something wrong: got healthy")
	}
}
