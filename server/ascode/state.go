package ascode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"restic-manager/server/fleetfile"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
)

// host is of a machine what a document knows.
type host struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Status string            `json:"status"`
}

const revoked = "revoked"

// setting is a repository as the server shows it.
type setting struct {
	ID                 string            `json:"id"`
	Name               string            `json:"name"`
	URL                string            `json:"url"`
	AppendOnly         bool              `json:"append_only"`
	EnvKeys            []string          `json:"env_keys"`
	MaintenanceEnvKeys []string          `json:"maintenance_env_keys"`
	Runner             *vault.NamedHost  `json:"runner"`
	RawMaintenance     json.RawMessage   `json:"maintenance"`
	Maintenance        vault.Maintenance `json:"-"`
	HostCount          int64             `json:"host_count"`
	UpdatedAt          time.Time         `json:"updated_at"`
}

// rule is a policy as the server shows it.
type rule struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Enabled bool            `json:"enabled"`
	Version int64           `json:"version"`
	RawSpec json.RawMessage `json:"spec"`
	Spec    policy.Spec     `json:"-"`
}

// state is a server as it is, by names in the form of fleetfile.Key.
type state struct {
	repositories map[string]setting
	hosts        map[string]host
	policies     map[string]rule
	repositoryID map[string]string // name by id
	hostID       map[string]string // name by id
}

// read asks the server for all that a document knows.
func (c *Client) read(ctx context.Context) (*state, error) {
	s := &state{repositories: map[string]setting{}, hosts: map[string]host{}, policies: map[string]rule{}, repositoryID: map[string]string{}, hostID: map[string]string{}}
	var settings struct{ Repositories []setting }
	if err := c.call(ctx, "GET", "/api/repositories", nil, &settings); err != nil {
		return nil, fmt.Errorf("read the repositories: %w", err)
	}
	for _, r := range settings.Repositories {
		if err := known(r.RawMaintenance, &r.Maintenance); err != nil {
			return nil, fmt.Errorf("repository %s: maintenance: %w", r.Name, err)
		}
		s.repositories[fleetfile.Key(r.Name)], s.repositoryID[r.ID] = r, r.Name
	}
	for cursor := ""; ; {
		var page struct {
			Hosts      []host
			NextCursor string `json:"next_cursor"`
		}
		if err := c.call(ctx, "GET", "/api/hosts?limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, fmt.Errorf("read the hosts: %w", err)
		}
		for _, h := range page.Hosts {
			s.hosts[fleetfile.Key(h.Name)], s.hostID[h.ID] = h, h.Name
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	var rules struct{ Policies []rule }
	if err := c.call(ctx, "GET", "/api/policies", nil, &rules); err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	for _, p := range rules.Policies {
		if err := known(p.RawSpec, &p.Spec); err != nil {
			return nil, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		s.policies[fleetfile.Key(p.Name)] = p
	}
	return s, nil
}

// known reads what is written back as a whole: a field that this program does not know would be lost with that.
func known(raw json.RawMessage, to any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("this program does not know all that the server has (%w); use the restic-manager of the server's version", err)
	}
	return nil
}

// Export gives the server's fleet as a document.
func (c *Client) Export(ctx context.Context) (fleetfile.File, error) {
	s, err := c.read(ctx)
	if err != nil {
		return fleetfile.File{}, err
	}
	var f fleetfile.File
	for _, r := range s.repositories {
		d := fleetfile.Repository{Name: r.Name, URL: r.URL, AppendOnly: r.AppendOnly, EnvKeys: r.EnvKeys, RunnerEnvKeys: r.MaintenanceEnvKeys, Maintenance: r.Maintenance}
		if r.Runner != nil {
			d.Runner = r.Runner.Name
		}
		if d.Maintenance.Zone == "UTC" {
			d.Maintenance.Zone = ""
		}
		if d.Maintenance.CheckParts == 10 { // both are what the server puts for nothing
			d.Maintenance.CheckParts = 0
		}
		f.Repositories = append(f.Repositories, d)
	}
	for _, h := range s.hosts {
		if len(h.Labels) > 0 && h.Status != revoked {
			f.Hosts = append(f.Hosts, fleetfile.Host{Name: h.Name, Labels: h.Labels})
		}
	}
	for _, p := range s.policies {
		d := fleetfile.Policy{Name: p.Name, Enabled: p.Enabled, Repository: s.repositoryID[p.Spec.RepositoryID], Spec: p.Spec}
		d.Spec.Hosts.IDs = nil
		for _, id := range p.Spec.Hosts.IDs {
			if name, ok := s.hostID[id]; ok {
				d.HostNames = append(d.HostNames, name)
			} else {
				d.Spec.Hosts.IDs = append(d.Spec.Hosts.IDs, id)
			}
		}
		f.Policies = append(f.Policies, d)
	}
	return f, nil
}

// Head is the comment at the top of an exported document.
var Head = []string{
	"The fleet as restic-manager export writes it: repositories, labels of machines, policies.",
	"restic-manager apply -f FILE --plan says what of it a server does not have;",
	"restic-manager apply -f FILE makes it so. Names are the keys: another name is another thing.",
	"",
	"Secrets do not stand here. env_keys names the credentials that the server has; to set them write",
	"env: {KEY: {env: VARIABLE}} or {file: PATH} in place of it, and password likewise. A server that does not know",
	"a repository yet makes a new password for it, unless one is given: that of storage that exists must be.",
	"",
}

// names are the host names of ids, in order; of a host that is gone the id.
func (s *state) names(ids []string) (names []string) {
	for _, id := range ids {
		if name, ok := s.hostID[id]; ok {
			names = append(names, name)
		} else {
			names = append(names, id)
		}
	}
	slices.SortFunc(names, compareNames)
	return names
}
