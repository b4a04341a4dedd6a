package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"restic-manager/agent/hostfile"
)

// enrollmentKeys are the keys that enrollment owns; all others are the owner's.
var enrollmentKeys = []string{"server_url", "host_id", "name", "agent_token", "cert_pins", "ca_file", "insecure_http"}

// brokenSuffix is behind the name of a file that was put aside. It may hold secrets.
const brokenSuffix = ".broken"

const head = `# agent.yaml of restic-manager-agent. It holds this machine's secret: keep its mode at 0600.
# The first keys are written by "restic-manager-agent enroll".
`

const hint = `
# Add the repository of this machine below, unless the server holds it:
#   repo_url: rest:https://backup.example.com:8000/this-host
#   repo_password_file: /etc/restic-manager/repo-password   (or repo_password, or repo_password_command)
#   environment:
#     RESTIC_REST_USERNAME: this-host
#     RESTIC_REST_PASSWORD: secret
# Restart the agent afterwards.
`

// Save writes the enrollment of c to agent.yaml, whole or not at all. What the owner wrote there before,
// keys of a repository for example, stays as it is; a file that cannot be understood is put aside first,
// its new name ends in .broken.
func Save(path string, c Config) error {
	replaced := enrollmentKeys
	if c.Proxy != "" {
		replaced = append(slices.Clone(replaced), "proxy")
	}
	owners, err := ownersPart(path, replaced)
	if err != nil {
		if aside := os.Rename(path, path+brokenSuffix); aside != nil {
			return errors.Join(fmt.Errorf("put %s aside: %w", path, aside), err)
		}
	}
	enrollment := Config{ServerURL: c.ServerURL, HostID: c.HostID, Name: c.Name, AgentToken: c.AgentToken,
		CertPins: c.CertPins, CAFile: c.CAFile, InsecureHTTP: c.InsecureHTTP, Proxy: c.Proxy}
	keys, err := yaml.Marshal(enrollment)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	rest := hint
	if owners != "" {
		rest = "\n" + owners
	}
	return hostfile.Write(path, []byte(head+string(keys)+rest), 0o600)
}

// ownersPart is the keys and comments of the file as text, without the replaced ones; empty where there are
// none.
func ownersPart(path string, replaced []string) (string, error) {
	f, err := hostfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if err := hostfile.Decode(f.Data, &Config{}); err != nil {
		return "", err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(f.Data, &doc); err != nil {
		return "", err
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return "", nil
	}
	kept := &yaml.Node{Kind: yaml.MappingNode}
	all := doc.Content[0].Content
	for i := 0; i+1 < len(all); i += 2 {
		if !slices.Contains(replaced, all[i].Value) {
			kept.Content = append(kept.Content, all[i], all[i+1])
		}
	}
	if len(kept.Content) == 0 {
		return "", nil
	}
	text, err := yaml.Marshal(kept)
	return strings.TrimLeft(string(text), "\n"), err
}
