package mutant

import "testing"

// TestEveryRuleIsStillThere: each edit finds its text once, else a mutant would be the code as it is.
func TestEveryRuleIsStillThere(t *testing.T) {
	names := map[string]bool{}
	for _, m := range All {
		if names[m.Name] || m.Rule == "" || len(m.Edits) == 0 {
			t.Errorf("mutant %q: want a name of its own, a rule and edits", m.Name)
		}
		names[m.Name] = true
		files, err := m.apply("../..")
		if err != nil {
			t.Error(err)
		}
		if len(files) == 0 {
			t.Errorf("mutant %q edits nothing", m.Name)
		}
	}
}
