// Package packaging holds what starts the agent at boot, embedded into the server: the install script brings it to
// machines that have nothing of ours yet.
package packaging

import _ "embed"

// AgentUnit is the agent's systemd unit.
//
//go:embed restic-manager-agent.service
var AgentUnit string

// AgentOpenRC is the agent's service script for OpenRC.
//
//go:embed restic-manager-agent.openrc
var AgentOpenRC string
