package api

import (
	"context"

	"restic-manager/server/foreign"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
)

type importInput struct {
	Body struct {
		Kind string `json:"kind" enum:"resticprofile,backrest"`
		Name string `json:"name,omitempty" maxLength:"255" doc:"The file's, which tells YAML, TOML and JSON apart"`
		File []byte `json:"file" maxLength:"699052" doc:"The whole file, 512 KiB at most. It is not kept"` // in base64: a text here holds no line ends
		Zone string `json:"zone,omitempty" maxLength:"64" doc:"Of the machine that the file is of; left out: UTC"`
	} `nameHint:"ImportPolicies"`
}

// ImportedRepository is a repository as another program's configuration has it, without secrets.
type ImportedRepository struct {
	Name        string            `json:"name"`
	URL         string            `json:"url"`
	EnvKeys     []string          `json:"env_keys" doc:"Credentials that are to be set"`
	Maintenance vault.Maintenance `json:"maintenance"`
	ID          string            `json:"id,omitempty" doc:"Of the repository here that has this address already"`
}

// ImportedPolicy is a policy as another program's configuration has it. Its machines are not in there.
type ImportedPolicy struct {
	Name           string      `json:"name"`
	Enabled        bool        `json:"enabled" doc:"No where no due time could be taken over"`
	RepositoryName string      `json:"repository_name,omitempty" doc:"One of the repositories"`
	Spec           policy.Spec `json:"spec" doc:"With the repository's id where that is here already"`
}

type importOutput struct {
	Body struct {
		Repositories []ImportedRepository `json:"repositories"`
		Policies     []ImportedPolicy     `json:"policies"`
		LeftOut      []foreign.LeftOut    `json:"left_out" doc:"What could not be taken over, each by its key"`
	} `nameHint:"Imported"`
}

// importPolicies gives drafts to whoever may look: it reads the text, and of the server only which repositories are there.
func (s *Server) importPolicies(ctx context.Context, in *importInput) (*importOutput, error) {
	d, err := foreign.Read(in.Body.Kind, in.Body.Name, string(in.Body.File), foreign.Options{Zone: in.Body.Zone})
	if err != nil {
		return nil, err
	}
	known, err := s.o.Vault.All(ctx)
	if err != nil {
		return nil, err
	}
	out, ids := &importOutput{}, map[string]string{}
	for _, r := range d.Repositories {
		o := ImportedRepository{Name: r.Name, URL: r.URL, EnvKeys: r.EnvKeys, Maintenance: r.Maintenance}
		for _, k := range known {
			if k.URL == r.URL {
				o.ID, ids[r.Name] = k.ID, k.ID
			}
		}
		out.Body.Repositories = append(out.Body.Repositories, o)
	}
	for _, p := range d.Policies {
		p.Spec.RepositoryID = ids[p.Repository]
		out.Body.Policies = append(out.Body.Policies, ImportedPolicy{Name: p.Name, Enabled: p.Enabled, RepositoryName: p.Repository, Spec: p.Spec})
	}
	out.Body.LeftOut = d.LeftOut
	return out, nil
}
