package policy

import "testing"

func TestSpecsAreTheSameWhateverTheirForm(t *testing.T) {
	a := Spec{Hosts: Selector{IDs: []string{"b", "a", "b"}, Labels: map[string]string{}}, Keep: &Keep{}}
	b := Spec{Hosts: Selector{IDs: []string{"a", "b"}}}
	if !a.Same(b) || !b.Same(a) {
		t.Errorf("%+v and %+v say the same", a, b)
	}
	b.TimeLimitSeconds = 1
	if a.Same(b) {
		t.Errorf("%+v and %+v do not say the same", a, b)
	}
}
