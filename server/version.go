package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"restic-manager/server/api"
	"restic-manager/shared/wire"
)

// version is set when a release is built (-ldflags "-X main.version=…").
var version string

// serverVersion is the release, or what the build knows of its commit.
func serverVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if settings["vcs.modified"] == "true" {
		commit += "-dirty"
	}
	return cmp.Or(commit, "unknown")
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print as JSON."`
}

// Run prints the version.
func (v *versionCommand) Run(c console) error {
	if !v.JSON {
		_, err := fmt.Fprintf(c.out, "restic-manager %s (protocol %d, agents from %d, %s, %s/%s)\n", serverVersion(),
			wire.ProtocolVersion, wire.MinProtocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return printJSON(c, struct {
		Version            string `json:"version"`
		ProtocolVersion    int    `json:"protocol_version"`
		MinProtocolVersion int    `json:"min_protocol_version"`
		Go                 string `json:"go"`
		OS                 string `json:"os"`
		Arch               string `json:"arch"`
	}{serverVersion(), wire.ProtocolVersion, wire.MinProtocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func printJSON(c console, v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type openapiCommand struct{}

// Run prints the API's description.
func (openapiCommand) Run(c console) error {
	_, err := c.out.Write(api.OpenAPI())
	return err
}
