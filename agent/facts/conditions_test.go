package facts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"restic-manager/shared/wire"
)

func TestPowerIsWhatTheSuppliesSay(t *testing.T) {
	type supply map[string]string
	mains := func(online string) supply { return supply{"type": "Mains", "online": online} }
	battery := func(status string) supply { return supply{"type": "Battery", "status": status} }
	for _, c := range []struct {
		what     string
		supplies []supply
		want     wire.Power
	}{
		{"a server says nothing", nil, wire.PowerUnknown},
		{"plugged in", []supply{battery("Charging"), mains("1")}, wire.PowerMains},
		{"unplugged", []supply{battery("Discharging"), mains("0")}, wire.PowerBattery},
		{"plugged in and still discharging", []supply{battery("Discharging"), mains("1")}, wire.PowerMains},
		{"fed by USB", []supply{mains("0"), battery("Charging"), {"type": "USB", "online": "1"}}, wire.PowerMains},
		{"a battery alone that goes down", []supply{battery("Discharging")}, wire.PowerBattery},
		{"a battery alone that is full", []supply{battery("Full")}, wire.PowerMains},
		{"full, and unplugged a moment ago", []supply{battery("Full"), mains("0")}, wire.PowerBattery},
		{"a mouse's battery", []supply{{"type": "Battery", "status": "Discharging", "scope": "Device"}}, wire.PowerUnknown},
		{"a UPS that feeds the machine", []supply{{"type": "UPS", "status": "Discharging"}}, wire.PowerBattery},
		{"a battery that does not say", []supply{battery("Unknown")}, wire.PowerUnknown},
	} {
		dir := t.TempDir()
		for i, s := range c.supplies {
			one := filepath.Join(dir, string(rune('a'+i)))
			if err := os.Mkdir(one, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range s {
				if err := os.WriteFile(filepath.Join(one, name), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := power(dir); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	if got := power(filepath.Join(t.TempDir(), "none")); got != wire.PowerUnknown {
		t.Errorf("a kernel without power supplies: got %s", got)
	}
}

func TestMeteredIsWhatNetworkManagerSays(t *testing.T) {
	for answer, want := range map[uint32]wire.Metered{0: wire.MeteredUnknown, 1: wire.MeteredYes, 2: wire.MeteredNo, 3: wire.MeteredYes, 4: wire.MeteredNo, 9: wire.MeteredUnknown} {
		if got := metered(t.Context(), func(context.Context) (uint32, error) { return answer, nil }); got != want {
			t.Errorf("%d: got %s, want %s", answer, got, want)
		}
	}
	none := func(context.Context) (uint32, error) { return 1, errors.New("no such name on the bus") }
	if got := metered(t.Context(), none); got != wire.MeteredUnknown {
		t.Errorf("without NetworkManager: got %s", got)
	}
}

// TestTheBusIsAsked: a bus that is not there is an error, not a wait.
func TestTheBusIsAsked(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if n, err := networkManager(t.Context()); err == nil {
		t.Errorf("got %d, want an error", n)
	}
}
