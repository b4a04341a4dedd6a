package fleet

import (
	"context"
	"runtime"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// TestRevocationEndsThePollUnderWay: a host that another replica revokes or deletes hears of it in the poll
// that waits, not after it.
func TestRevocationEndsThePollUnderWay(t *testing.T) {
	actor := database.Actor{Kind: "operator", ID: database.NewID()}
	for name, end := range map[string]func(ctx context.Context, y *fixture, host string) error{
		"revoke": func(ctx context.Context, y *fixture, host string) error {
			_, err := y.RevokeHost(ctx, actor, host)
			return err
		},
		"delete": func(ctx context.Context, y *fixture, host string) error { return y.DeleteHost(ctx, actor, host) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, x *fixture) {
				h := x.host("web")
				y := x.replica()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				heard := make(chan error, 1)
				go func() {
					_, err := x.Poll(ctx, h, wire.PollQuery{Boot: "b1", Seq: 2, Wait: 50 * time.Second, FreeLong: 1, Config: x.configVersion()})
					heard <- err
				}()
				for x.seats.parked.Load() == 0 && ctx.Err() == nil {
					runtime.Gosched()
				}
				if err := end(ctx, y, h); err != nil {
					t.Fatal(err)
				}
				if err := <-heard; !fault.Is(err, wire.ProblemUnauthorized) {
					t.Errorf("the poll that waited: got %v, want unauthorized", err)
				}
			})
		})
	}
}
