package ascode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"restic-manager/server/fleetfile"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
)

// Plan is what makes a server what a document says.
type Plan struct {
	Changes []Change // in the order in which they are made
	Notes   []string // what is not as the document says, and stays so
}

// Verbs of changes.
const (
	Make   = "make"
	Edit   = "change"
	Remove = "remove"
)

// Change is one thing that is made, changed or removed.
type Change struct {
	Verb     string
	Noun     string // repository, host or policy
	Name     string
	Fields   []Field
	Hosts    string   // which machines a policy comes to and goes from; empty: it is none
	Warnings []string // of the server, and what retention would remove
	do       func(ctx context.Context) error
}

// Field is one that differs. Texts are for people; empty: it is not set.
type Field struct{ Name, Before, After string }

// Asked are how a document is applied.
type Asked struct {
	Prune  bool // removes policies and repositories that the document does not name
	Getenv func(name string) (string, bool)
}

// planner compares a document with a server.
type planner struct {
	*Client
	*state
	asked    Asked
	file     string // its name, for errors
	document fleetfile.File
	plan     Plan
	wrong    fleetfile.Problems
	made     map[string]string // ids of what this run has made, by fleetfile.Key of the repository's name
	named    map[string]string // repositories of the document that are to be made, by fleetfile.Key
}

// Plan says what is to be done; nothing is changed. What is wrong with the document is a *fleetfile.Problems that calls it
// name.
func (c *Client) Plan(ctx context.Context, name string, f fleetfile.File, asked Asked) (*Plan, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	p := &planner{Client: c, state: s, asked: asked, file: name, document: f, wrong: fleetfile.Problems{Name: name}, made: map[string]string{}, named: map[string]string{}}
	for _, step := range []func(context.Context) error{p.repositoriesOf, p.hostsOf, p.policiesOf, p.prune} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if len(p.wrong.List) > 0 {
		return nil, &p.wrong
	}
	return &p.plan, nil
}

func (p *planner) complain(line int, format string, args ...any) {
	p.wrong.List = append(p.wrong.List, fleetfile.Problem{Line: line, Text: fmt.Sprintf(format, args...)})
}

// refused makes what the server says of a part of the document an error of its line; others end the plan.
func (p *planner) refused(line int, what string, err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		switch r.Status {
		case http.StatusUnprocessableEntity, http.StatusConflict:
			p.complain(line, "%s: %s", what, r.Detail)
			return nil
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			return fmt.Errorf("%s: the server cannot plan this; it is older than this program, or what the plan is about was deleted just now", what)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// secret reads a secret from where the document says it is.
func (p *planner) secret(what string, s fleetfile.Secret) string {
	var text string
	switch {
	case s.Env != "":
		v, ok := p.asked.Getenv(s.Env)
		if !ok || v == "" {
			p.complain(s.Line, "the environment variable %s is not set; it is to give %s", s.Env, what)
		}
		text = v
	default:
		raw, err := os.ReadFile(s.File)
		if err != nil {
			p.complain(s.Line, "%v; it is to give %s", err, what)
			return ""
		}
		if text = strings.TrimRight(string(raw), "\r\n"); text == "" {
			p.complain(s.Line, "%s is empty; it is to give %s", s.File, what)
		}
	}
	return text
}

func (p *planner) secrets(field, what string, env map[string]fleetfile.Secret) *map[string]string {
	values := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		values[k] = p.secret(field+"."+k+" of "+what, env[k])
	}
	return &values
}

// body is a repository as POST /api/repositories, PATCH and plan take it.
type body struct {
	ID             string             `json:"id,omitempty"`
	Name           string             `json:"name"`
	URL            string             `json:"url"`
	Password       string             `json:"password,omitempty"`
	AppendOnly     bool               `json:"append_only"`
	Env            *map[string]string `json:"env,omitempty"`
	MaintenanceEnv *map[string]string `json:"maintenance_env,omitempty"`
	RunnerID       string             `json:"runner_id"`
	Maintenance    vault.Maintenance  `json:"maintenance"`
}

func (p *planner) repositoriesOf(ctx context.Context) error {
	for _, r := range p.document.Repositories {
		if err := p.repository(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) repository(ctx context.Context, r fleetfile.Repository) error {
	what := fmt.Sprintf("repository %q", r.Name)
	before := len(p.wrong.List)
	now, there := p.repositories[fleetfile.Key(r.Name)]
	b := body{ID: now.ID, Name: r.Name, URL: r.URL, AppendOnly: r.AppendOnly, Maintenance: r.Maintenance}
	if r.Password != nil {
		b.Password = p.secret("the password of "+what, *r.Password)
	}
	for _, e := range []struct {
		field   string
		keys    []string
		has     []string
		given   map[string]fleetfile.Secret
		becomes **map[string]string
	}{{"env", r.EnvKeys, now.EnvKeys, r.Env, &b.Env}, {"maintenance_env", r.RunnerEnvKeys, now.MaintenanceEnvKeys, r.MaintenanceEnv, &b.MaintenanceEnv}} {
		switch {
		case len(e.given) > 0:
			*e.becomes = p.secrets(e.field, what, e.given)
		case !sameSet(e.keys, e.has) && len(e.keys) > 0:
			p.complain(r.Line, "%s: %s_keys names %s, and the server has %s; values cannot be told from keys: give %s: {KEY: {env: VARIABLE}} with all there are to be",
				what, e.field, strings.Join(e.keys, ", "), orNone(e.has), e.field)
		case len(e.keys) == 0 && len(e.has) > 0:
			*e.becomes = &map[string]string{} // none are named: there are to be none
		}
	}
	if r.Runner != "" {
		h, ok := p.hosts[fleetfile.Key(r.Runner)]
		if !ok || h.Status == revoked {
			p.complain(r.Line, "%s: runner: there is no host %q; enroll it first", what, r.Runner)
		}
		b.RunnerID = h.ID
	}
	if len(p.wrong.List) > before {
		return nil
	}
	var plan struct {
		Changes   []policy.Change
		UpdatedAt time.Time `json:"updated_at"`
		HostCount int64     `json:"host_count"`
	}
	if err := p.call(ctx, "POST", "/api/repositories/plan", b, &plan); err != nil {
		return p.refused(r.Line, what, err)
	}
	if there && len(plan.Changes) == 0 {
		return nil
	}
	c := Change{Verb: Edit, Noun: "repository", Name: r.Name, Fields: fieldsOf(plan.Changes)}
	if !there {
		p.named[fleetfile.Key(r.Name)] = r.Name
		c.Verb, c.do = Make, func(ctx context.Context) error { return p.makeRepository(ctx, b) }
		if r.Password == nil {
			c.Warnings = append(c.Warnings, "a new password is made: right for storage that is empty. For a repository that exists give password: {env: …} or {file: …}")
		}
	} else {
		c.do = func(ctx context.Context) error { return p.changeRepository(ctx, b, plan.UpdatedAt) }
		if plan.HostCount > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s use it from the next job on as it is then", machines(plan.HostCount)))
		}
	}
	p.plan.Changes = append(p.plan.Changes, c)
	return nil
}

func (p *planner) makeRepository(ctx context.Context, b body) error {
	b.ID = ""
	var made struct{ ID string }
	if err := p.call(ctx, "POST", "/api/repositories", b, &made); err != nil {
		return err
	}
	p.made[fleetfile.Key(b.Name)] = made.ID
	return nil
}

// changeRepository writes over what the plan was made of, and over nothing else.
func (p *planner) changeRepository(ctx context.Context, b body, planned time.Time) error {
	var now setting
	path := "/api/repositories/" + b.ID
	if err := p.call(ctx, "GET", path, nil, &now); err != nil {
		return err
	}
	if !now.UpdatedAt.Equal(planned) {
		return errMeanwhile
	}
	b.ID = ""
	return p.call(ctx, "PATCH", path, b, nil)
}

var errMeanwhile = &Refusal{Status: 409, Code: "changed_meanwhile", Detail: "somebody has changed it since the plan was made; run apply again and look at the new plan"}

func (p *planner) hostsOf(context.Context) error {
	for _, d := range p.document.Hosts {
		h, there := p.hosts[fleetfile.Key(d.Name)]
		if !there || h.Status == revoked {
			p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("host %s is not enrolled at this server: its labels are not set", d.Name))
			continue
		}
		if maps.Equal(h.Labels, d.Labels) {
			continue
		}
		c := Change{Verb: Edit, Noun: "host", Name: h.Name}
		for _, k := range slices.Sorted(maps.Keys(union(h.Labels, d.Labels))) {
			if before, after := shownLabel(h.Labels, k), shownLabel(d.Labels, k); before != after {
				c.Fields = append(c.Fields, Field{"labels." + k, before, after})
			}
		}
		c.do = func(ctx context.Context) error { return p.label(ctx, h, d.Labels) }
		p.plan.Changes = append(p.plan.Changes, c)
	}
	return nil
}

func (p *planner) label(ctx context.Context, planned host, labels map[string]string) error {
	var now host
	if err := p.call(ctx, "GET", "/api/hosts/"+planned.ID, nil, &now); err != nil {
		return err
	}
	if !maps.Equal(now.Labels, planned.Labels) {
		return errMeanwhile
	}
	if labels == nil {
		labels = map[string]string{}
	}
	return p.call(ctx, "PATCH", "/api/hosts/"+planned.ID, map[string]any{"labels": labels}, nil)
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	if u == nil {
		u = map[string]string{}
	}
	maps.Copy(u, b)
	return u
}

// shownLabel tells an empty value from none.
func shownLabel(labels map[string]string, k string) string {
	v, ok := labels[k]
	if ok && v == "" {
		return `""`
	}
	return v
}

// draft is a policy as POST and PUT /api/policies and plan take it.
type draft struct {
	ID      string      `json:"id,omitempty"`
	Name    string      `json:"name"`
	Enabled bool        `json:"enabled"`
	Spec    policy.Spec `json:"spec"`
	Version int64       `json:"version,omitempty"`
}

func (p *planner) policiesOf(ctx context.Context) error {
	relabelled := slices.ContainsFunc(p.plan.Changes, func(c Change) bool { return c.Noun == "host" })
	for _, d := range p.document.Policies {
		if err := p.policy(ctx, d, relabelled); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) policy(ctx context.Context, d fleetfile.Policy, relabelled bool) error {
	what := fmt.Sprintf("policy %q", d.Name)
	before := len(p.wrong.List)
	now, there := p.policies[fleetfile.Key(d.Name)]
	b := draft{ID: now.ID, Name: d.Name, Enabled: d.Enabled, Spec: d.Spec}
	b.Spec.Hosts.IDs = slices.Clone(d.Spec.Hosts.IDs)
	for _, name := range d.HostNames {
		h, ok := p.hosts[fleetfile.Key(name)]
		if !ok {
			p.complain(d.Line, "%s: hosts.names: there is no host %q; enroll it first", what, name)
		}
		b.Spec.Hosts.IDs = append(b.Spec.Hosts.IDs, h.ID)
	}
	key := fleetfile.Key(d.Repository)
	if d.Repository != "" {
		b.Spec.RepositoryID = p.repositories[key].ID
		if b.Spec.RepositoryID == "" && p.named[key] == "" && !p.inDocument(key) {
			p.complain(d.Line, "%s: repository: there is no repository %q, neither here nor at the server", what, d.Repository)
		}
	}
	if len(p.wrong.List) > before {
		return nil
	}
	var plan policy.Plan
	if err := p.call(ctx, "POST", "/api/policies/plan", b, &plan); err != nil {
		return p.refused(d.Line, what, err)
	}
	c := Change{Verb: Make, Noun: "policy", Name: d.Name, Fields: p.policyFields(plan.Changes, now.Spec, d, b.Spec), Hosts: touched(plan.Hosts)}
	if there && len(c.Fields) == 0 {
		if b.Spec.Same(now.Spec) {
			return nil
		}
		c.Fields = []Field{{"spec", "", "differs in a field that the server's plan has no words for"}}
	}
	for _, o := range plan.Hosts.Problems {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s: it does not run there: %s", o.Host.Name, o.Problem))
	}
	c.Warnings = append(c.Warnings, plan.Warnings...)
	if relabelled && len(d.Spec.Hosts.Labels) > 0 {
		c.Warnings = append(c.Warnings, "the machines are those of the labels as they are now, before this plan changes them")
	}
	if b.Spec.RepositoryID == "" && d.Repository != "" {
		c.Warnings = append(c.Warnings, "its repository is made first: problems with that are seen only then")
	}
	b.ID, b.Version = "", now.Version
	c.do = func(ctx context.Context) error {
		if b.Spec.RepositoryID == "" && d.Repository != "" {
			b.Spec.RepositoryID = p.made[key]
		}
		return p.call(ctx, "POST", "/api/policies", b, nil)
	}
	if there {
		removes, err := p.retention(ctx, now, c.Fields, b.Spec.Keep)
		if err != nil {
			return err
		}
		c.Verb, c.Warnings = Edit, append(c.Warnings, removes...)
		c.do = func(ctx context.Context) error {
			if b.Spec.RepositoryID == "" && d.Repository != "" {
				b.Spec.RepositoryID = p.made[key]
			}
			return p.call(ctx, "PUT", "/api/policies/"+now.ID, b, nil)
		}
	}
	p.plan.Changes = append(p.plan.Changes, c)
	return nil
}

func (p *planner) inDocument(key string) bool {
	return slices.ContainsFunc(p.document.Repositories, func(r fleetfile.Repository) bool { return fleetfile.Key(r.Name) == key })
}

// policyFields are the server's own differences, with names in place of ids.
func (p *planner) policyFields(changes []policy.Change, now policy.Spec, d fleetfile.Policy, spec policy.Spec) []Field {
	repository := Field{"repository", p.repositoryID[now.RepositoryID], d.Repository}
	var fields []Field
	for _, f := range fieldsOf(changes) {
		switch f.Name {
		case "repository_id":
			continue // not yet known of one that is made first
		case "hosts.ids":
			f = Field{"hosts.names", strings.Join(p.names(now.Hosts.IDs), "\n"), strings.Join(p.names(spec.Hosts.IDs), "\n")}
		}
		fields = append(fields, f)
	}
	if fleetfile.Key(repository.Before) != fleetfile.Key(repository.After) {
		fields = append(fields, repository)
	}
	return fields
}

func fieldsOf(changes []policy.Change) (fields []Field) {
	for _, c := range changes {
		fields = append(fields, Field{c.Field, c.Before, c.After})
	}
	return fields
}

// retentionHosts bounds how many machines retention is asked about.
const retentionHosts = 100

// retention says what a changed rule would remove that is there now.
func (p *planner) retention(ctx context.Context, now rule, fields []Field, keep *policy.Keep) ([]string, error) {
	if keep == nil || !slices.ContainsFunc(fields, func(f Field) bool { return strings.HasPrefix(f.Name, "keep.") }) {
		return nil, nil
	}
	var page struct{ Hosts []policy.HostRef }
	if err := p.call(ctx, "GET", fmt.Sprintf("/api/policies/%s/hosts?limit=%d", now.ID, retentionHosts), nil, &page); err != nil {
		return nil, fmt.Errorf("read the hosts of policy %s: %w", now.Name, err)
	}
	var removes, all int64
	var at []string
	for _, h := range page.Hosts {
		var v struct{ Keep, Remove int64 }
		err := p.call(ctx, "POST", "/api/retention/preview", map[string]any{"host_id": h.ID, "policy_id": now.ID, "keep": keep}, &v)
		if r, ok := errors.AsType[*Refusal](err); ok && r.Status == http.StatusNotFound {
			continue // nothing is known of its snapshots
		} else if err != nil {
			return nil, fmt.Errorf("ask what retention would remove at %s: %w", h.Name, err)
		}
		if all += v.Keep + v.Remove; v.Remove > 0 {
			removes += v.Remove
			at = append(at, h.Name)
		}
	}
	if len(page.Hosts) == 0 {
		return nil, nil
	}
	if removes == 0 {
		return []string{fmt.Sprintf("retention would remove none of %d snapshots", all)}, nil
	}
	of := ""
	if len(page.Hosts) == retentionHosts {
		of = fmt.Sprintf(", the first %d machines looked at", retentionHosts)
	}
	return []string{fmt.Sprintf("retention would remove %d of %d snapshots, at %s%s", removes, all, some(at), of)}, nil
}

// prune removes what the document does not name: policies first, which may use the repositories.
func (p *planner) prune(context.Context) error {
	if !p.asked.Prune {
		return nil
	}
	remove := func(noun, name, path string, warnings ...string) {
		p.plan.Changes = append(p.plan.Changes, Change{Verb: Remove, Noun: noun, Name: name, Warnings: warnings,
			do: func(ctx context.Context) error { return p.call(ctx, "DELETE", path, nil, nil) }})
	}
	for _, key := range slices.Sorted(maps.Keys(p.policies)) {
		if !slices.ContainsFunc(p.document.Policies, func(d fleetfile.Policy) bool { return fleetfile.Key(d.Name) == key }) {
			remove("policy", p.policies[key].Name, "/api/policies/"+p.policies[key].ID, "its jobs and snapshots stay")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.repositories)) {
		if r := p.repositories[key]; !p.inDocument(key) {
			warnings := []string{"the data in the storage stays; its password is forgotten: make a recovery kit first"}
			if r.HostCount > 0 {
				warnings = append(warnings, fmt.Sprintf("%s use it: the server will refuse", machines(r.HostCount)))
			}
			remove("repository", r.Name, "/api/repositories/"+r.ID, warnings...)
		}
	}
	return nil
}

// touched says which machines a policy comes to and goes from.
func touched(h policy.PlanHosts) string {
	parts := []string{}
	add := func(n int, word string, hosts []policy.HostRef) {
		if n == 0 {
			return
		}
		text := fmt.Sprintf("%d %s", n, word)
		var names []string
		for _, h := range hosts {
			names = append(names, h.Name)
		}
		if len(names) > 0 {
			text += " (" + some(names) + ")"
		}
		parts = append(parts, text)
	}
	add(h.AddedCount, "new", h.Added)
	add(h.RemovedCount, "no more", h.Removed)
	add(h.Kept, "as before", nil)
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func machines(n int64) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// some are the first names of a list.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

func orNone(list []string) string { return cmp.Or(strings.Join(list, ", "), "none") }

func compareNames(a, b string) int { return cmp.Compare(fleetfile.Key(a), fleetfile.Key(b)) }
