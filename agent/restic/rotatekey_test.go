package restic

import (
	"slices"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// A rotation is two steps. Each may be repeated, and whatever was done of it before, it ends with one key for the
// password that stays.
func TestRealRotationOfKeys(t *testing.T) {
	const second = "another horse $HOME"
	for _, version := range realVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			a := realAccess(t, version)
			perform(t, mustBuild(t, a, &wire.InitSpec{}))
			step := func(by Access, second string, s wire.RotateStep, want string) {
				t.Helper()
				keys, err := by.FindKeys(t.Context(), second)
				if err != nil {
					t.Fatal(err)
				}
				i := mustBuild(t, by, &wire.RotateKeySpec{Step: s}, func(o *Order) { o.Keys = &keys })
				if got := strings.Join(i.Args[:2], " "); got != want {
					t.Errorf("%s: restic is to do %q, want %q", s, got, want)
				}
				for _, arg := range slices.Concat(i.Args, i.Env) {
					if strings.Contains(arg, second) || strings.Contains(arg, by.Repository.Password) {
						t.Errorf("%s: a password is in %q", s, arg)
					}
				}
				o, log := perform(t, i)
				if o.State != wire.StateSucceeded {
					t.Fatalf("%s: got %+v, %q", s, o, log)
				}
				if err := keys.Proof(by, s).Check(t.Context()); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			}
			proof := Keys{Second: second}
			if err := proof.Proof(a, wire.RotateAdd).Check(t.Context()); !isWrongPassword(err) {
				t.Errorf("before the first step: got %v, want that the new password opens nothing", err)
			}
			step(a, second, wire.RotateAdd, "key add")
			step(a, second, wire.RotateAdd, "cat --json")
			b := a.with(second)
			if err := (Keys{Second: a.Repository.Password}).Proof(b, wire.RotateRemove).Check(t.Context()); err == nil || err.(*Error).Code != wire.CodeKeyRemains {
				t.Errorf("while the old key is there: got %v, want %s", err, wire.CodeKeyRemains)
			}
			step(b, a.Repository.Password, wire.RotateRemove, "key remove")
			step(b, a.Repository.Password, wire.RotateRemove, "cat --json")
			if _, err := a.CatConfig(t.Context()); !isWrongPassword(err) {
				t.Errorf("the old password: got %v, want that it opens nothing", err)
			}
			if _, err := b.FindKeys(t.Context(), second); err == nil {
				t.Error("one password for both was taken")
			}
		})
	}
}

// A repository that cannot be reached says nothing of its keys.
func TestKeysOfARepositoryThatIsNotThereAreAnError(t *testing.T) {
	a := realAccess(t, "0.18.0")
	if _, err := a.FindKeys(t.Context(), "another"); err == nil || isWrongPassword(err) {
		t.Errorf("got %v, want that the repository is missing", err)
	}
}
