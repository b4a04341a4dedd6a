package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"restic-manager/shared/wire"
)

// version is set when a release is built (-ldflags "-X main.version=…").
var version string

// agentVersion is the release, or what the build knows of its commit.
func agentVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(version, "unknown")
	}
	return cmp.Or(version, fromBuild(info), "unknown")
}

func fromBuild(info *debug.BuildInfo) string {
	commit, dirty := buildSetting(info, "vcs.revision"), buildSetting(info, "vcs.modified")
	if commit == "" {
		return ""
	}
	if dirty == "true" {
		return "dev-" + commit[:min(12, len(commit))] + "-dirty"
	}
	return "dev-" + commit[:min(12, len(commit))]
}

func buildSetting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print as JSON."`
}

// Run prints the version.
func (v *versionCommand) Run(c console) error {
	if !v.JSON {
		_, err := fmt.Fprintf(c.out, "restic-manager-agent %s (protocol %d, %s, %s/%s)\n", agentVersion(), wire.ProtocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return printJSON(c, struct {
		Version         string `json:"version"`
		ProtocolVersion int    `json:"protocol_version"`
		Go              string `json:"go"`
		OS              string `json:"os"`
		Arch            string `json:"arch"`
	}{agentVersion(), wire.ProtocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func printJSON(c console, v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
