// Package fleetfile is the fleet as one YAML document: repositories without secrets, labels of machines, and policies.
// It reads such a document with the line of everything that is wrong in it, and writes one in its one form. Names are the
// keys in it; ids do not stand there. It knows no server and no database.
package fleetfile

import (
	"reflect"
	"strings"

	"restic-manager/server/policy"
	"restic-manager/server/vault"
)

// Version is the one that this code reads and writes.
const Version = 1

// File is a document.
type File struct {
	Repositories []Repository
	Hosts        []Host
	Policies     []Policy
}

// Repository is one repository. What is left out has its default, but for Password and the two environments: they stay
// what they are on the server.
type Repository struct {
	Name           string            `json:"name" minLength:"1" maxLength:"128"`
	URL            string            `json:"url" maxLength:"3840" doc:"As restic's --repo, without a password in it; {host} in its path gives each host a folder of its own"`
	Password       *Secret           `json:"password,omitempty" doc:"Left out: a new repository's is made, a known one's stays"`
	AppendOnly     bool              `json:"append_only,omitempty" doc:"The storage lets the hosts' credentials remove nothing"`
	EnvKeys        []string          `json:"env_keys,omitempty" doc:"Credentials that the server has, their values not being told: in place of env"`
	Env            map[string]Secret `json:"env,omitempty" doc:"Credentials of the backend, which each host gets; all that there are to be"`
	RunnerEnvKeys  []string          `json:"maintenance_env_keys,omitempty" doc:"As env_keys, of maintenance_env"`
	MaintenanceEnv map[string]Secret `json:"maintenance_env,omitempty" doc:"Credentials that the runner alone gets in place of env"`
	Runner         string            `json:"runner,omitempty" doc:"Name of the host that maintains the repository"`
	Maintenance    vault.Maintenance `json:"maintenance,omitzero"`
	Line           int               `json:"-"` // 0: it comes from no text
}

// Secret says where a secret is: in an environment variable or in a file of whoever applies the document. Exactly one
// is set.
type Secret struct {
	Env  string `json:"env,omitempty" doc:"Name of an environment variable"`
	File string `json:"file,omitempty" doc:"A file with nothing but the secret; a line end behind it does not count"`
	Line int    `json:"-"`
}

// Host is a machine's labels: all that it is to have.
type Host struct {
	Name   string            `json:"name" minLength:"1" maxLength:"128"`
	Labels map[string]string `json:"labels,omitempty" doc:"All labels there are to be"`
	Line   int               `json:"-"`
}

// Policy is one policy. Of Spec, RepositoryID and Hosts.IDs stand in the document as names; Hosts.IDs holds only those of
// hosts that have no name any more.
type Policy struct {
	Name       string
	Enabled    bool
	Repository string   // empty: the one of each machine's own configuration
	HostNames  []string // in place of ids
	Spec       policy.Spec
	Line       int
}

// selector is policy.Selector with names.
type selector struct {
	All    bool              `json:"all,omitempty" doc:"Every machine, also those that come later"`
	Names  []string          `json:"names,omitempty" maxItems:"10000" doc:"Names of machines"`
	IDs    []string          `json:"ids,omitempty" maxItems:"10000" doc:"Ids, of machines that have no name any more because they were deleted"`
	Labels map[string]string `json:"labels,omitempty" doc:"Machines that have all of these labels"`
}

// Fields of a policy that stand in place of one of its spec's, and of policies in a document.
const (
	fieldName       = "name"
	fieldEnabled    = "enabled"
	fieldRepository = "repository"
	fieldHosts      = "hosts"
	specRepository  = "repository_id"
)

// policyType is a policy as it is written: name, enabled and repository, and every other field of policy.Spec as the API
// has it, also those that it will have.
var policyType = func() reflect.Type {
	fields := []reflect.StructField{
		{Name: "Name", Type: reflect.TypeFor[string](), Tag: `json:"name" minLength:"1" maxLength:"128"`},
		{Name: "Enabled", Type: reflect.TypeFor[*bool](), Tag: `json:"enabled,omitempty" doc:"Left out: yes"`},
		{Name: "Repository", Type: reflect.TypeFor[string](), Tag: `json:"repository,omitempty" doc:"Name of a repository; left out: the one that each machine's own configuration names"`},
	}
	for _, f := range jsonFields(reflect.TypeFor[policy.Spec]()) {
		switch jsonName(f) {
		case specRepository:
			continue
		case fieldHosts:
			f.Type = reflect.TypeFor[selector]()
		}
		fields = append(fields, reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag})
	}
	return reflect.StructOf(fields)
}()

// Type is the Go type of a whole document, by which it is checked and its JSON schema is made.
func Type() reflect.Type { return documentType }

var documentType = reflect.StructOf([]reflect.StructField{
	{Name: "Version", Type: reflect.TypeFor[int](), Tag: `json:"version" minimum:"1" maximum:"1" doc:"Of this form: 1"`},
	{Name: "Repositories", Type: reflect.TypeFor[[]Repository](), Tag: `json:"repositories,omitempty"`},
	{Name: "Hosts", Type: reflect.TypeFor[[]Host](), Tag: `json:"hosts,omitempty" doc:"Labels of machines. Those that are not named stay as they are"`},
	{Name: "Policies", Type: reflect.SliceOf(policyType), Tag: `json:"policies,omitempty"`},
})

// jsonFields are a struct's fields as JSON has them: those of embedded structs stand among its own.
func jsonFields(t reflect.Type) (fields []reflect.StructField) {
	for f := range t.Fields() {
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("json") == "":
			fields = append(fields, jsonFields(f.Type)...)
		case f.IsExported() && jsonName(f) != "-":
			fields = append(fields, f)
		}
	}
	return fields
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return f.Name
	}
	return name
}

// Key is a name as names are compared: upper and lower case count as the same.
func Key(name string) string { return strings.ToLower(name) }
