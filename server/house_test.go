package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says which packages may import which of ours, and which libraries belong to one room. It is the plan of
// docs/architecture.md; change both together.
var rooms = map[string][]string{
	"shared/wire":                  {},
	"shared/failpoint":             {},
	"shared/coredump":              {},
	"shared/checkup":               {},
	"schedule":                     {},
	"migrations":                   {},
	"frontend":                     {},
	"packaging":                    {},
	"server/fault":                 {},
	"server/database":              {"migrations"},
	"server/database/databasetest": {"migrations"},
	"server/fleet/job": {
		"shared/wire", "server/fault",
	},
	"server/fleet/job/memory": {"shared/wire", "server/fault", "server/fleet/job", "server/fleet/boot"},
	"server/fleet":            {"shared/wire", "server/fault", "server/database", "server/fleet/job"},
	"server/policy":           {"shared/wire", "server/fault", "server/database", "server/fleet", "server/retention", "schedule"},
	"server/access":           {"server/fault", "server/database", "shared/wire"},
	"server/web":              {"frontend", "shared/wire"},
	"server/retention":        {},
	"server/maintenance":      {"shared/wire", "schedule", "server/fault", "server/database", "server/fleet", "server/retention"},
	"server/vault":            {"shared/wire", "server/fault", "server/database", "server/fleet"},
	"server/api":              {"shared/wire", "server/fault", "server/database", "server/fleet", "server/access", "server/policy", "server/web", "server/install", "server/vault", "server/maintenance", "server/retention", "server/foreign"},
	"server/fleetfile":        {"server/policy", "server/vault"},
	"server/foreign":          {"shared/wire", "schedule", "server/fault", "server/policy", "server/vault", "server/fleetfile"},
	"server/ascode":           {"shared/wire", "server/access", "server/policy", "server/vault", "server/fleetfile"},
	"server/install":          {"server/fault", "packaging"},
	"server/keeper":           {"server/fleet", "server/access", "server/policy", "server/database"},
	"server/config":           {"shared/wire"},
	"server/doctor":           {"shared/wire", "shared/checkup", "server/config", "server/database", "server/fleet", "server/install"},
	"agent/hostfile":          {},
	"agent/facts":             {"shared/wire"},
	"agent/config":            {"shared/wire", "agent/hostfile"},
	"agent/hook":              {"shared/wire"},
	"agent/guard":             {"shared/wire", "agent/hostfile", "agent/hook"},
	"agent/client":            {"shared/wire"},
	"agent/restic":            {"shared/wire"},
	"agent/spool":             {"shared/wire"},
	"agent/planner":           {"shared/wire", "schedule"},
	"agent/supervise":         {"shared/wire", "agent/spool", "agent/restic", "agent/hook"},
	"agent/runner":            {"shared/wire", "agent/client", "agent/restic", "agent/supervise", "agent/spool", "agent/guard", "agent/config", "agent/planner", "agent/hook", "agent/pattern"},
	"agent/doctor":            {"shared/wire", "shared/checkup", "agent/client", "agent/restic", "agent/guard", "agent/config", "agent/runner"},
	"server/e2e":              nil, // tests only
	"server":                  nil, // puts the parts together
	"agent":                   nil,
}

var libraries = map[string][]string{
	"github.com/labstack/echo":              {"server/api"},
	"github.com/danielgtaylor/huma":         {"server/api"},
	"gorm.io/":                              {"server/database", "server/fleet", "server/access", "server/vault", "server/policy", "server/maintenance"},
	"filippo.io/age":                        {"server/vault"},
	"github.com/hashicorp/go-retryablehttp": {"agent/client"},
	"github.com/pelletier/go-toml":          {"server/foreign"},
	"github.com/godbus/dbus":                {"agent/facts"},
}

func TestWhoMayImportWhom(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`,
		"restic-manager/shared/...", "restic-manager/schedule/...", "restic-manager/migrations/...", "restic-manager/frontend/...", "restic-manager/packaging/...", "restic-manager/server/...", "restic-manager/agent/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	const ours = "restic-manager/"
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], ours)
		// A room's own sub-rooms are its own affair, unless they have a row.
		room := name
		for _, ok := rooms[room]; !ok && strings.Contains(room, "/"); _, ok = rooms[room] {
			room = room[:strings.LastIndex(room, "/")]
		}
		allowed, ok := rooms[room]
		if !ok {
			t.Errorf("%s has no row in the plan: find the room it belongs in, or change the plan", name)
			continue
		}
		for _, i := range fields[1:] {
			if other, ours := strings.CutPrefix(i, ours); ours && allowed != nil && other != room &&
				!strings.HasPrefix(other, room+"/") && other != "shared/failpoint" && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s: the plan does not allow it", name, other)
			}
			for library, owners := range libraries {
				if strings.HasPrefix(i, library) && !slices.Contains(owners, room) {
					t.Errorf("%s imports %s, which belongs to %v", name, i, owners)
				}
			}
		}
	}
}
