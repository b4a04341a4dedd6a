package database

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestOtherReplicasAreToldOfLogLinesALittleLater, together, and of everything else at once.
func TestOtherReplicasAreToldOfLogLinesALittleLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		rung := func() bool {
			select {
			case <-o.wake:
				return true
			default:
				return false
			}
		}
		o.put([]string{TopicLog("a")})
		time.Sleep(logDelay - time.Millisecond) // of the bubble's clock
		o.put([]string{TopicLog("b")})
		if rung() {
			t.Error("log lines were told at once")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got, want := o.take(), []string{TopicLog("a"), TopicLog("b")}; !rung() || !slices.Equal(got, want) {
			t.Errorf("after the delay: got %v, want %v and a ring", got, want)
		}
		o.sent()
		o.put([]string{TopicLog("a")})
		o.put([]string{TopicWake("h"), TopicLog("a")})
		if got, want := o.take(), []string{TopicLog("a"), TopicWake("h")}; !rung() || !slices.Equal(got, want) {
			t.Errorf("a wake-up: got %v, want %v at once", got, want)
		}
		o.sent()
		time.Sleep(logDelay)
		synctest.Wait()
		if rung(); o.later {
			t.Error("the timer is still set")
		}
	})
}
