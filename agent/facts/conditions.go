package facts

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"restic-manager/shared/wire"
)

// powerSupplies is where Linux tells of them (Documentation/ABI/testing/sysfs-class-power).
const powerSupplies = "/sys/class/power_supply"

// askLimit is how long NetworkManager is waited for.
const askLimit = 5 * time.Second

// Conditions are what this machine runs on, and whether its connection is metered, at this moment.
func Conditions(ctx context.Context) (wire.Power, wire.Metered) {
	return power(powerSupplies), metered(ctx, networkManager)
}

// power reads what a folder of power supplies says. One that is online decides; a battery that is a device's of its own,
// as a mouse's, is none of the machine's.
func power(dir string) wire.Power {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return wire.PowerUnknown
	}
	offline, full, discharging := false, false, false
	for _, e := range entries {
		read := func(name string) string {
			return strings.TrimSpace(string(readFirst(filepath.Join(dir, e.Name(), name))))
		}
		if read("scope") == "Device" {
			continue
		}
		switch read("type") {
		case "Mains", "USB", "Wireless":
			switch read("online") {
			case "1", "2": // 2: at a fixed or programmable voltage
				return wire.PowerMains
			case "0":
				offline = true
			}
		case "Battery", "UPS":
			switch read("status") {
			case "Discharging":
				discharging = true
			case "Charging", "Full", "Not charging":
				full = true
			}
		}
	}
	switch {
	case discharging:
		return wire.PowerBattery
	case full && offline:
		return wire.PowerBattery // full, and nothing that feeds it
	case full:
		return wire.PowerMains
	}
	return wire.PowerUnknown
}

// metered puts NetworkManager's answer into words (NMMetered in its D-Bus interface): what it guesses counts.
func metered(ctx context.Context, ask func(context.Context) (uint32, error)) wire.Metered {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := ask(ctx)
	if err != nil {
		return wire.MeteredUnknown
	}
	switch answer {
	case 1, 3: // yes, guessed yes
		return wire.MeteredYes
	case 2, 4: // no, guessed no
		return wire.MeteredNo
	}
	return wire.MeteredUnknown
}

// networkManager asks for the property Metered of the connection that leads out.
func networkManager(ctx context.Context) (uint32, error) {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	defer bus.Close()
	var answer dbus.Variant
	err = bus.Object("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager").
		CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, "org.freedesktop.NetworkManager", "Metered").Store(&answer)
	if err != nil {
		return 0, err
	}
	var n uint32
	return n, answer.Store(&n)
}
