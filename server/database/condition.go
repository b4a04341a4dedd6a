package database

import (
	"context"
	"errors"
)

type conditionKey struct{}

var errCondition = errors.New("WriteTogether was called under a condition, which it does not ask")

// WithCondition is ctx under which every Write asks check first, in its own transaction, and changes nothing when
// check fails: what let a request in may have ended since. check is run again with the transaction.
func WithCondition(ctx context.Context, check func(*Tx) error) context.Context {
	return context.WithValue(ctx, conditionKey{}, check)
}

// condition is what was set, or nil.
func condition(ctx context.Context) func(*Tx) error {
	check, _ := ctx.Value(conditionKey{}).(func(*Tx) error)
	return check
}
