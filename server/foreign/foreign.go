// Package foreign reads what others' configurations of restic say, as drafts of repositories and policies. It is pure: text
// in, drafts out. What cannot be taken over exactly is left out and named, with why; nothing is guessed.
package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"restic-manager/server/fault"
	"restic-manager/server/fleetfile"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
	"restic-manager/shared/wire"
)

// Drafts are what a configuration says, in this program's words.
type Drafts struct {
	Repositories []Repository
	Policies     []Policy
	LeftOut      []LeftOut
}

// Repository is a repository that is used. Its secrets are not among what is read; where they are to come from is.
type Repository struct {
	Name         string
	URL          string
	PasswordFile string   // that the configuration names; empty: somewhere else
	EnvKeys      []string // credentials that are to be set
	Maintenance  vault.Maintenance
}

// Policy is a backup. The machines it is for are not in such a configuration.
type Policy struct {
	Name       string
	Enabled    bool   // false where no due time could be taken over
	Repository string // name of one of the drafts; empty: none is named
	Spec       policy.Spec
}

// LeftOut is one thing that was not taken over.
type LeftOut struct {
	Where string `json:"where" doc:"The key, as in documents.backup.run-before"`
	Why   string `json:"why"`
}

// Options are what a configuration does not say.
type Options struct {
	Zone  string   // of its times; empty: UTC
	Hosts []string // names of the machines that the policies are for
}

// standIn is the schedule of a draft whose own could not be taken over. Such a draft is switched off.
const standIn = "@daily"

// maxText bounds a configuration.
const maxText = 512 << 10

// drafter collects drafts.
type drafter struct {
	Drafts
	o Options
}

func (d *drafter) leave(where, why string, args ...any) {
	l := LeftOut{where, fmt.Sprintf(why, args...)}
	if !slices.Contains(d.LeftOut, l) {
		d.LeftOut = append(d.LeftOut, l)
	}
}

func (d *drafter) zone() string {
	if d.o.Zone == "" {
		return "UTC"
	}
	return d.o.Zone
}

// finish checks each draft as saving does, so that what is offered can be saved.
func (d *drafter) finish() Drafts {
	for i := range d.Policies {
		p := &d.Policies[i]
		p.Spec.Backup.Excludes = only(p.Spec.Backup.Excludes, func(e string) error {
			return (&wire.BackupSpec{Paths: []string{"/"}, Excludes: []string{e}}).Validate()
		}, func(e string, err error) { d.leave(p.Name+": exclude "+e, "%v", err) })
		p.Spec.Backup.Tags = only(p.Spec.Backup.Tags, wire.CheckName, func(t string, err error) { d.leave(p.Name+": tag "+t, "%v", err) })
		if p.Spec.Keep != nil {
			p.Spec.Keep.Tags = only(p.Spec.Keep.Tags, wire.CheckName, func(t string, err error) { d.leave(p.Name+": keep-tag "+t, "%v", err) })
		}
		p.Spec.Schedule.Zone = d.zoneOr(p.Spec.Schedule.Zone)
		if p.Spec.Schedule.Cron == "" {
			p.Spec.Schedule.Cron, p.Enabled = standIn, false
			d.leave(p.Name+": schedule", "no due time was taken over: the draft is switched off, and says %s until you give one", standIn)
		}
	}
	slices.SortStableFunc(d.LeftOut, func(a, b LeftOut) int { return strings.Compare(a.Where, b.Where) })
	return d.Drafts
}

func (d *drafter) zoneOr(zone string) string {
	if zone != "" {
		return zone
	}
	return d.zone()
}

func only(list []string, check func(string) error, bad func(string, error)) (good []string) {
	for _, e := range list {
		if err := check(e); err != nil {
			bad(e, err)
		} else if !slices.Contains(good, e) {
			good = append(good, e)
		}
	}
	return good
}

// File is the drafts as a document of the fleet.
func (d Drafts) File(o Options) fleetfile.File {
	var f fleetfile.File
	for _, r := range d.Repositories {
		out := fleetfile.Repository{Name: r.Name, URL: r.URL, Maintenance: r.Maintenance, Password: &fleetfile.Secret{File: r.PasswordFile}}
		if r.PasswordFile == "" {
			out.Password = &fleetfile.Secret{Env: variable(r.Name) + "_PASSWORD"}
		}
		for _, k := range r.EnvKeys {
			if out.Env == nil {
				out.Env = map[string]fleetfile.Secret{}
			}
			out.Env[k] = fleetfile.Secret{Env: k}
		}
		f.Repositories = append(f.Repositories, out)
	}
	for _, p := range d.Policies {
		f.Policies = append(f.Policies, fleetfile.Policy{Name: p.Name, Enabled: p.Enabled, Repository: p.Repository, HostNames: o.Hosts, Spec: p.Spec})
	}
	return f
}

// variable is a name as the name of an environment variable.
func variable(name string) string {
	v := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
	if v == "" || v[0] >= '0' && v[0] <= '9' {
		v = "R_" + v
	}
	return v
}

// Read reads a configuration of the kind "resticprofile" or "backrest"; name is the file's. An error is an invalid fault.
func Read(kind, name, text string, o Options) (Drafts, error) {
	if len(text) > maxText {
		return Drafts{}, fault.Invalidf("text: the file is larger than %d KiB", maxText>>10)
	}
	if !utf8.ValidString(text) {
		return Drafts{}, fault.Invalidf("text: the file is not UTF-8; save it as that")
	}
	if _, err := time.LoadLocation(o.Zone); err != nil || o.Zone == "Local" {
		return Drafts{}, fault.Invalidf("zone: %.60q is not a time zone; give a name as in Europe/Berlin or UTC", o.Zone)
	}
	switch kind {
	case "resticprofile":
		return readResticprofile(name, text, o)
	case "backrest":
		return readBackrest(text, o)
	}
	return Drafts{}, fault.Invalidf("kind: give resticprofile or backrest")
}

// parse reads text as the form that the file's name says, or as the one that fits.
func parse(name, text string) (m map[string]any, err error) {
	text = strings.TrimPrefix(text, "\ufeff")
	switch ext := strings.ToLower(path.Ext(name)); {
	case ext == ".hcl":
		return nil, fault.Invalidf("text: HCL is not read; resticprofile show prints a profile, and its documentation tells how to write it as YAML or TOML")
	case ext == ".json" || ext == "" && strings.HasPrefix(strings.TrimSpace(text), "{"):
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		err = d.Decode(&m)
	case ext == ".toml" || ext == ".conf" || ext == "" && strings.HasPrefix(firstLine(text), "["):
		err = toml.Unmarshal([]byte(text), &m)
	default:
		err = yaml.NewDecoder(bytes.NewReader([]byte(text))).Decode(&m)
	}
	if err != nil {
		return nil, fault.Invalidf("text: the file cannot be read: %v", err)
	}
	if len(m) == 0 {
		return nil, fault.Invalidf("text: the file says nothing")
	}
	return m, nil
}

// firstLine is the first one that is no comment.
func firstLine(text string) string {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			return l
		}
	}
	return ""
}

// location gives a repository's address without credentials in it, and the keys that these are to be set as.
func location(url string) (clean string, keys []string, err error) {
	url = strings.TrimPrefix(url, "local:")
	scheme, rest, ok := strings.Cut(url, "://")
	if ok && strings.HasPrefix(scheme, "rest:") {
		if slash := strings.IndexByte(rest+"/", '/'); strings.Contains(rest[:min(slash, len(rest))], "@") {
			at := strings.LastIndexByte(rest[:slash], '@')
			url, keys = scheme+"://"+rest[at+1:], []string{"RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"}
		}
	}
	clean, err = wire.CheckRepositoryURL(strings.Replace(url, "{host}", "a-host", 1))
	if err == nil {
		clean = strings.Replace(clean, "a-host", "{host}", 1)
		if !strings.Contains(url, "{host}") {
			clean = url
		}
	}
	return clean, keys, err
}
