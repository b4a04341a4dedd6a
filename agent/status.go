package main

import (
	"errors"
	"fmt"
	"time"

	"restic-manager/agent/config"
	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

type statusCommand struct {
	folders
	JSON bool `name:"json" help:"Print as JSON."`
}

// report is what status --json prints.
type report struct {
	Version string `json:"version"` // of this program; the running agent's is in agent
	Config  struct {
		Path      string `json:"path"`
		Enrolled  bool   `json:"enrolled"`
		ServerURL string `json:"server_url,omitempty"`
		HostID    string `json:"host_id,omitempty"`
		Name      string `json:"name,omitempty"`
		// Repository is the location in agent.yaml, without secrets; empty: the server's is used.
		Repository string `json:"repository,omitempty"`
		Problem    string `json:"problem,omitempty"` // what to mend
	} `json:"config"`
	Guard   wire.GuardReport `json:"guard"`
	Running bool             `json:"running"`
	// Agent is the running agent's last word; nil: none ever ran here.
	Agent   *runner.Status `json:"agent"`
	Problem string         `json:"problem,omitempty"` // why the agent's word cannot be read
}

// statusStale is how old the agent's last word may be before it counts as not running.
const statusStale = time.Minute

// Run prints how the agent is. It exits with 0 when it is online, with 76 to 78 for what run would exit
// with, else with 1.
func (s *statusCommand) Run(c console) error {
	paths, err := config.Locate(s.Config, s.StateDir)
	if err != nil {
		return err
	}
	r := look(paths, time.Now())
	if s.JSON {
		err = printJSON(c, r)
	} else {
		_, err = fmt.Fprint(c.out, r.text(time.Now()))
	}
	return errors.Join(err, r.verdict())
}

func look(paths config.Paths, now time.Time) report {
	r := report{Version: agentVersion()}
	r.Config.Path = paths.Config
	settings, err := config.Load(paths.Config)
	if err == nil {
		_, err = connect(settings) // nothing is opened before the first call
	}
	if err != nil {
		r.Config.Problem = err.Error()
	}
	if settings != nil {
		r.Config.Enrolled, r.Config.ServerURL, r.Config.HostID, r.Config.Name = true, settings.ServerURL, settings.HostID, settings.Name
		r.Config.Repository = settings.Location()
	}
	r.Guard = openGuard(paths, settings).Report()
	word, err := runner.ReadStatus(runner.StatusPath(paths.State))
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	r.Agent, r.Running = &word, now.Sub(word.UpdatedAt) <= statusStale
	return r
}

func (r report) text(now time.Time) string {
	text := fmt.Sprintf("%-14s %s\n", "config", r.Config.Path)
	if r.Config.Problem != "" {
		text += fmt.Sprintf("%-14s %s\n", "", r.Config.Problem)
	}
	if r.Config.Enrolled {
		text += fmt.Sprintf("%-14s %s %s\n", "host", r.Config.HostID, r.Config.Name)
		repository := r.Config.Repository
		if repository == "" {
			repository = "none in agent.yaml: the server's is used, if it holds one"
		}
		text += fmt.Sprintf("%-14s %s\n", "repository", repository)
	}
	text += fmt.Sprintf("%-14s %s\n", "guard", r.Guard.Summary)
	if r.Guard.Broken != "" {
		text += fmt.Sprintf("%-14s %s\n", "", r.Guard.Broken)
	}
	if r.Agent == nil {
		return text + fmt.Sprintf("%-14s %s\n", "agent", r.Problem)
	}
	return text + r.Agent.Text(now)
}

// verdict is the exit code's reason; nil when all is well.
func (r report) verdict() error {
	switch {
	case r.Config.Problem != "":
		return fail(exitConfig, errors.New("agent.yaml needs mending"))
	case r.Agent == nil || !r.Running:
		return fail(exitFailure, errors.New("the agent does not run here"))
	case r.Agent.State == runner.ContactTooOld:
		return fail(exitProtocol, errors.New("the agent is too old for the server"))
	case r.Agent.State == runner.ContactUnauthorized:
		return fail(exitRefused, errors.New("the server does not accept the agent"))
	case r.Guard.Broken != "":
		return fail(exitConfig, errors.New("the guard refuses everything"))
	case r.Agent.State != runner.ContactOnline:
		return fail(exitFailure, errors.New("the agent has no contact with the server"))
	}
	return nil
}
