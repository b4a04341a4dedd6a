package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"restic-manager/server/database"
)

func TestNamesAreUniqueWhateverTheirCase(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "Ann", Administrator)
		bob := e.operator(t, "bob", Viewer)
		_, err := e.CreateOperator(t.Context(), console, NewOperator{Username: "aNN", Password: password, Role: Viewer})
		wantCode(t, "a second Ann", err, "username_taken")
		name := "ANN"
		_, err = e.UpdateOperator(t.Context(), console, bob.ID, OperatorPatch{Username: &name})
		wantCode(t, "bob as ANN", err, "username_taken")
		name = "BOB"
		o, err := e.UpdateOperator(t.Context(), console, bob.ID, OperatorPatch{Username: &name})
		if err != nil || o.Username != "BOB" {
			t.Errorf("bob as BOB: got %+v, %v", o, err)
		}
	})
}

func TestBadOperatorsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for _, n := range []NewOperator{
			{"ann", password, "root"}, {"ann", password, ""}, {"", password, Viewer}, {"a b", password, Viewer}, {"ann", "short", Viewer}, {"ann", "password1234", Viewer},
		} {
			_, err := e.CreateOperator(t.Context(), console, n)
			wantCode(t, fmt.Sprint(n), err, "invalid")
		}
		ann := e.operator(t, "ann", Administrator)
		bad, role := "a b", Role("root")
		for i, p := range []OperatorPatch{{Username: &bad}, {Role: &role}, {Password: &bad}} {
			_, err := e.UpdateOperator(t.Context(), console, ann.ID, p)
			wantCode(t, fmt.Sprint("patch ", i), err, "invalid")
		}
		for _, id := range []string{"", "x", database.NewID(), strings.ToUpper(ann.ID) + " "} {
			_, err := e.OperatorByID(t.Context(), id)
			wantCode(t, "read "+id, err, "not_found")
			_, err = e.UpdateOperator(t.Context(), console, id, OperatorPatch{Password: new(password)})
			wantCode(t, "change "+id, err, "not_found")
			wantCode(t, "delete "+id, e.DeleteOperator(t.Context(), console, id), "not_found")
		}
		wantCode(t, "reset", e.ResetPassword(t.Context(), console, "nobody", password), "not_found")
	})
}

func TestTheLastAdministratorStays(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ann := e.operator(t, "ann", Administrator)
		off := e.operator(t, "off", Administrator)
		e.operator(t, "bob", Operator)
		yes, viewer := true, Viewer
		if _, err := e.UpdateOperator(t.Context(), console, off.ID, OperatorPatch{Disabled: &yes}); err != nil {
			t.Fatal(err)
		}
		_, err := e.UpdateOperator(t.Context(), console, ann.ID, OperatorPatch{Role: &viewer})
		wantCode(t, "demote", err, "last_administrator")
		_, err = e.UpdateOperator(t.Context(), console, ann.ID, OperatorPatch{Disabled: &yes})
		wantCode(t, "disable", err, "last_administrator")
		wantCode(t, "delete", e.DeleteOperator(t.Context(), console, ann.ID), "last_administrator")
		if o, err := e.OperatorByID(t.Context(), ann.ID); err != nil || o.Role != Administrator || o.Disabled {
			t.Errorf("ann: got %+v, %v", o, err)
		}
		wantCode(t, "a disabled administrator may go", e.DeleteOperator(t.Context(), console, off.ID), "")
	})
}

func TestOfTwoAdministratorsWhoRemoveEachOtherOneStays(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for range 10 {
			ann, bob := e.operator(t, "ann", Administrator), e.operator(t, "bob", Administrator)
			var wg sync.WaitGroup
			errs := make([]error, 2)
			wg.Go(func() { errs[0] = e.DeleteOperator(t.Context(), console, ann.ID) })
			wg.Go(func() { errs[1] = e.DeleteOperator(t.Context(), console, bob.ID) })
			wg.Wait()
			list, _, err := e.Operators(t.Context(), Page{})
			if err != nil || len(list) != 1 {
				t.Fatalf("got %d operators, %v; want 1 (%v)", len(list), err, errs)
			}
			// make room for the next round
			if err := e.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec("DELETE FROM operators").Error }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestOperatorsArePagedByName(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for _, name := range []string{"eve", "Bob", "ann", "dora", "Carl"} {
			e.operator(t, name, Administrator)
		}
		var got []string
		for cursor := ""; ; {
			list, next, err := e.Operators(t.Context(), Page{Cursor: cursor, Limit: 2})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				got = append(got, o.Username)
			}
			if cursor = next; next == "" {
				break
			}
		}
		if want := []string{"ann", "Bob", "Carl", "dora", "eve"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		_, _, err := e.Operators(t.Context(), Page{Cursor: "!"})
		wantCode(t, "a foreign cursor", err, "invalid")
	})
}

func TestANewPasswordEndsTheOtherSessions(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		mine, p := e.login(t, "ann")
		other, _ := e.login(t, "ann")
		wantCode(t, "a wrong current one", e.ChangePassword(t.Context(), p, "wrong", "quite another long one", address), "wrong_password")
		wantCode(t, "a bad new one", e.ChangePassword(t.Context(), p, password, "short", address), "invalid")
		wantCode(t, "the change", e.ChangePassword(t.Context(), p, password, "quite another long one", address), "")
		_, err := e.Authenticate(t.Context(), mine)
		wantCode(t, "this session", err, "")
		_, err = e.Authenticate(t.Context(), other)
		wantCode(t, "the other", err, "unauthorized")
		_, _, err = e.Login(t.Context(), "ann", password, address, "")
		wantCode(t, "the old password", err, "bad_credentials")
		_, _, err = e.Login(t.Context(), "ann", "quite another long one", address, "")
		wantCode(t, "the new password", err, "")
	})
}

func TestGuessesAtTheCurrentPasswordAreCounted(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "ann", Administrator)
		_, p := e.login(t, "ann")
		for range accountLimit.free {
			wantCode(t, "a guess", e.ChangePassword(t.Context(), p, "wrong", "quite another long one", address), "wrong_password")
		}
		wantCode(t, "one more", e.ChangePassword(t.Context(), p, password, "quite another long one", address), "rate_limited")
	})
}

func TestEveryChangeHasItsAuditRow(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.operator(t, "root", Administrator)
		ann := e.operator(t, "ann", Viewer)
		_, p := e.login(t, "ann")
		role, same := Operator, "ann"
		steps := []func() error{
			func() error {
				_, err := e.UpdateOperator(t.Context(), console, ann.ID, OperatorPatch{Role: &role})
				return err
			},
			func() error {
				_, err := e.UpdateOperator(t.Context(), console, ann.ID, OperatorPatch{Role: &role, Username: &same})
				return err
			}, // changes nothing
			func() error { return e.ChangePassword(t.Context(), p, password, "quite another long one", address) },
			func() error { return e.Logout(t.Context(), p, address) },
			func() error { return e.Logout(t.Context(), p, address) }, // has ended already
			func() error { return e.DeleteOperator(t.Context(), console, ann.ID) },
		}
		for i, step := range steps {
			if err := step(); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		_ = e.DeleteOperator(t.Context(), console, ann.ID) // refused: no row
		_, _, _ = e.Login(t.Context(), "root", "wrong", address, "")
		want := []string{"console operator.create", "console operator.create", "operator session.create", "console operator.update", "operator password.change", "operator session.end", "console operator.delete"}
		if got := e.actions(t); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
