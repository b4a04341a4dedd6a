package restic

import (
	"os"
	"path/filepath"
	"strings"

	"restic-manager/shared/wire"
)

// withRclone has restic reach its repository by the rclone of this machine, with the configuration of its owner: the
// remotes in it are programs' names and secrets that the server does not know.
func (i Invocation) withRclone(config string, folders []string) (Invocation, error) {
	program := ""
	for _, dir := range folders {
		p := filepath.Join(dir, "rclone")
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			program = p
			break
		}
	}
	if program == "" {
		return Invocation{}, coded(wire.CodeRcloneMissing, "rclone is not installed here (looked in %s): install it, or give the repository another location", strings.Join(folders, ", "))
	}
	if info, err := os.Stat(config); config == "" || err != nil || !info.Mode().IsRegular() {
		return Invocation{}, coded(wire.CodeRcloneMissing, "rclone has no configuration at %.200s: put its rclone.conf there, readable for the agent, or name another one in guard.yaml (rclone: {config: …})", config)
	}
	i.Options = []string{flag("option", "rclone.program="+program)}
	i.Env = append(i.Env, "RCLONE_CONFIG="+config)
	return i, nil
}
