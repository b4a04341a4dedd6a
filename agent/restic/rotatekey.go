package restic

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"

	"restic-manager/shared/wire"
)

// Keys are what opens a repository whose password is being changed. It holds secrets: it travels as an Invocation does.
type Keys struct {
	// Second is the other password of a rotation.
	Second string `json:"second"`
	// SecondID is the key that it opens; empty: none.
	SecondID string `json:"second_id"`
	// CurrentID is the key that the access's own password opens.
	CurrentID string `json:"current_id"`
}

// Proof is what has to hold once a step of a rotation is done.
type Proof struct {
	// Opens must open the repository.
	Opens Access `json:"opens"`
	// Closed must not; nil: it may.
	Closed *Access `json:"closed,omitempty"`
}

// with is the access by another password.
func (a Access) with(password string) Access {
	a.Repository.Password = password
	return a
}

// FindKeys asks which keys the two passwords open. Only a second one that opens none is no error: a repository that
// cannot be reached says nothing of its keys.
func (a Access) FindKeys(ctx context.Context, second string) (Keys, error) {
	if second == a.Repository.Password {
		return Keys{}, coded(wire.CodeInvalidSpec, "the two passwords of the rotation are the same")
	}
	k := Keys{Second: second}
	var err error
	if k.CurrentID, err = a.currentKey(ctx); err != nil {
		return Keys{}, err
	}
	k.SecondID, err = a.with(second).currentKey(ctx)
	if isWrongPassword(err) {
		return k, nil
	}
	if err == nil && k.SecondID == k.CurrentID {
		return Keys{}, coded(wire.CodePreflight, "both passwords of the rotation open the key %s", k.CurrentID)
	}
	return k, err
}

func isWrongPassword(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == wire.CodeWrongPassword
}

// keyID is 8 digits up to 0.16, 64 from 0.17 on.
var keyID = regexp.MustCompile(`^[0-9a-f]{8,64}$`)

// currentKey is the id of the key that the password opens.
func (a Access) currentKey(ctx context.Context) (id string, err error) {
	i, err := a.begin()
	if err != nil {
		return "", err
	}
	i.Args = []string{"key", "list", "--json", "--no-lock"}
	err = i.ask(ctx, wire.PreflightLimit, askGrace, func(r io.Reader, _ func()) error {
		b, err := io.ReadAll(io.LimitReader(r, maxConfig))
		if err != nil {
			return err
		}
		var keys []struct {
			Current bool   `json:"current"`
			ID      string `json:"id"`
		}
		if err := json.Unmarshal(b, &keys); err != nil {
			return coded(wire.CodePreflight, "restic's list of keys cannot be read; see whether restic key list works by hand")
		}
		for _, k := range keys {
			if k.Current && keyID.MatchString(k.ID) {
				id = k.ID
			}
		}
		if id == "" {
			return coded(wire.CodePreflight, "restic's list of keys does not say which one the password opens; see whether restic key list works by hand")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// rotateKey does what is left to do of the step. Where nothing is, it opens the repository by the password that is to
// stay: a step may be repeated after any interruption, and keys do not pile up.
func (i *Invocation) rotateKey(s *wire.RotateKeySpec, k *Keys) error {
	if k == nil {
		return coded(wire.CodeInvalidSpec, "the keys of the repository were not looked at")
	}
	switch {
	case s.Step == wire.RotateAdd && k.SecondID == "":
		i.Args, i.NewPassword = []string{"key", "add", flag("new-password-file", newPasswordFD)}, k.Second
	case s.Step == wire.RotateAdd:
		i.catConfig()
		i.Password = k.Second
	case k.SecondID == "":
		i.catConfig()
	case k.SecondID == k.CurrentID || !keyID.MatchString(k.SecondID):
		return coded(wire.CodeInvalidSpec, "%.70q is not the key of the old password", k.SecondID)
	default:
		i.Args = []string{"key", "remove", "--", k.SecondID}
	}
	return nil
}

// Proof is what has to hold after the step.
func (k Keys) Proof(a Access, step wire.RotateStep) *Proof {
	if step == wire.RotateAdd {
		return &Proof{Opens: a.with(k.Second)}
	}
	second := a.with(k.Second)
	return &Proof{Opens: a, Closed: &second}
}

// Check opens the repository anew. Its error is an *Error.
func (p Proof) Check(ctx context.Context) error {
	if _, err := p.Opens.CatConfig(ctx); err != nil {
		return err
	}
	if p.Closed == nil {
		return nil
	}
	_, err := p.Closed.CatConfig(ctx)
	switch {
	case err == nil:
		return coded(wire.CodeKeyRemains, "the old password opens another key of the repository; the removal is repeated")
	case isWrongPassword(err):
		return nil
	}
	return err
}
