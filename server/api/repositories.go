package api

import (
	"context"

	"restic-manager/server/fleet"
	"restic-manager/server/vault"
	"restic-manager/shared/wire"
)

type repositoriesOutput struct {
	Body struct {
		Repositories []vault.Repository `json:"repositories"`
	} `nameHint:"Repositories"`
}

func (s *Server) listRepositories(ctx context.Context, _ *none) (*repositoriesOutput, error) {
	out := &repositoriesOutput{}
	var err error
	out.Body.Repositories, err = s.o.Vault.All(ctx)
	return out, err
}

type repositoryOutput struct{ Body vault.Repository }

func (s *Server) getRepository(ctx context.Context, in *ByID) (*repositoryOutput, error) {
	r, err := s.o.Vault.ByID(ctx, in.ID)
	return &repositoryOutput{r}, err
}

type createRepositoryInput struct {
	Body struct {
		Name           string             `json:"name" maxLength:"128"`
		URL            string             `json:"url" maxLength:"3840" doc:"As restic's --repo, without a password in it; {host} in its path gives each host a folder of its own"`
		Password       string             `json:"password,omitempty" maxLength:"4096" doc:"None: 32 random bytes"`
		AppendOnly     bool               `json:"append_only,omitempty" doc:"The storage lets the hosts' credentials remove nothing"`
		Env            map[string]string  `json:"env,omitempty" doc:"Credentials of the backend, which each host gets"`
		MaintenanceEnv map[string]string  `json:"maintenance_env,omitempty" doc:"Credentials that the runner alone gets in place of env"`
		RunnerID       string             `json:"runner_id,omitempty" doc:"The host that maintains the repository"`
		Maintenance    *vault.Maintenance `json:"maintenance,omitempty"`
		AutoInit       *bool              `json:"auto_init,omitempty" doc:"The server orders an init by itself where restic says that there is none yet; absent: true"`
	} `nameHint:"CreateRepository"`
}

func (s *Server) createRepository(ctx context.Context, in *createRepositoryInput) (*repositoryOutput, error) {
	r, err := s.o.Vault.Create(ctx, exchangeOf(ctx).actor(), vault.New(in.Body))
	return &repositoryOutput{r}, err
}

type updateRepositoryInput struct {
	ByID
	Body struct {
		Name           *string            `json:"name,omitempty" maxLength:"128"`
		URL            *string            `json:"url,omitempty" maxLength:"3840"`
		Password       *string            `json:"password,omitempty" minLength:"1" maxLength:"4096" doc:"As the repository has it: restic changes that with restic key"`
		AppendOnly     *bool              `json:"append_only,omitempty"`
		Env            *map[string]string `json:"env,omitempty" doc:"All keys there are to be"`
		MaintenanceEnv *map[string]string `json:"maintenance_env,omitempty" doc:"All keys there are to be; {}: the runner gets env"`
		RunnerID       *string            `json:"runner_id,omitempty" doc:"Empty: none"`
		Maintenance    *vault.Maintenance `json:"maintenance,omitempty"`
		AutoInit       *bool              `json:"auto_init,omitempty" doc:"Left out while the address of a known repository changes: false"`
	} `nameHint:"UpdateRepository"`
}

func (s *Server) updateRepository(ctx context.Context, in *updateRepositoryInput) (*repositoryOutput, error) {
	p := vault.Patch(in.Body)
	if p == (vault.Patch{}) {
		return nil, errNothing()
	}
	r, err := s.o.Vault.Update(ctx, exchangeOf(ctx).actor(), in.ID, p)
	return &repositoryOutput{r}, err
}

type planRepositoryInput struct {
	Body struct {
		ID             string             `json:"id,omitempty" doc:"Of the repository that is to be changed; left out: a new one"`
		Name           *string            `json:"name,omitempty" maxLength:"128"`
		URL            *string            `json:"url,omitempty" maxLength:"3840"`
		Password       *string            `json:"password,omitempty" minLength:"1" maxLength:"4096" doc:"Compared with the one that is kept"`
		AppendOnly     *bool              `json:"append_only,omitempty"`
		Env            *map[string]string `json:"env,omitempty" doc:"All keys there are to be; compared with those that are kept"`
		MaintenanceEnv *map[string]string `json:"maintenance_env,omitempty"`
		RunnerID       *string            `json:"runner_id,omitempty" doc:"Empty: none"`
		Maintenance    *vault.Maintenance `json:"maintenance,omitempty"`
	} `nameHint:"PlanRepository"`
}

type planRepositoryOutput struct {
	Body vault.Plan `nameHint:"RepositoryPlan"`
}

func (s *Server) planRepository(ctx context.Context, in *planRepositoryInput) (*planRepositoryOutput, error) {
	b := in.Body
	p, err := s.o.Vault.Plan(ctx, exchangeOf(ctx).actor(), b.ID, vault.Patch{Name: b.Name, URL: b.URL, Password: b.Password, AppendOnly: b.AppendOnly,
		Env: b.Env, MaintenanceEnv: b.MaintenanceEnv, RunnerID: b.RunnerID, Maintenance: b.Maintenance})
	return &planRepositoryOutput{p}, err
}

func (s *Server) forgetRepository(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Vault.Delete(ctx, exchangeOf(ctx).actor(), in.ID)
}

type repositoryHostsOutput struct {
	Body struct {
		Hosts []vault.RepositoryHost `json:"hosts"`
	} `nameHint:"RepositoryHosts"`
}

func (s *Server) listRepositoryHosts(ctx context.Context, in *ByID) (*repositoryHostsOutput, error) {
	out := &repositoryHostsOutput{}
	var err error
	out.Body.Hosts, err = s.o.Vault.Hosts(ctx, in.ID)
	return out, err
}

type testRepositoryInput struct {
	ByID
	Body struct {
		HostID string `json:"host_id" doc:"The host that is to try"`
	} `nameHint:"TestRepository"`
}

func (s *Server) testRepository(ctx context.Context, in *testRepositoryInput) (*jobOutput, error) {
	target, err := s.o.Vault.Target(ctx, in.ID, in.Body.HostID)
	if err != nil {
		return nil, err
	}
	job, created, err := s.o.Fleet.CreateJob(ctx, exchangeOf(ctx).actor(), fleet.NewJob{HostID: in.Body.HostID, Kind: wire.KindSnapshots, Spec: &wire.SnapshotsSpec{}, Target: &target})
	return ordered(job, created, err)
}

type revealRepositoryInput struct {
	ByID
	Body struct {
		CurrentPassword string `json:"current_password" maxLength:"1024" doc:"One's own"`
	} `nameHint:"RevealRepository"`
}

// RepositorySecrets are what opens a repository.
type RepositorySecrets struct{ vault.Secrets }

type repositorySecretsOutput struct{ Body RepositorySecrets }

func (s *Server) revealRepository(ctx context.Context, in *revealRepositoryInput) (*repositorySecretsOutput, error) {
	if err := s.confirmFor(ctx, in.ID, in.Body.CurrentPassword); err != nil {
		return nil, err
	}
	secrets, err := s.o.Vault.Reveal(ctx, exchangeOf(ctx).actor(), in.ID)
	return &repositorySecretsOutput{RepositorySecrets{secrets}}, err
}

// confirmFor asks the caller's own password again, for a repository that is there.
func (s *Server) confirmFor(ctx context.Context, id, password string) error {
	if _, err := s.o.Vault.ByID(ctx, id); err != nil {
		return err
	}
	x := exchangeOf(ctx)
	return s.o.Access.Confirm(ctx, x.principal, password, x.addressText())
}

type recoveryKitInput struct {
	ByID
	Body struct {
		Passphrase      string `json:"passphrase" maxLength:"1024" doc:"Opens the kit; 12 characters or more"`
		CurrentPassword string `json:"current_password" maxLength:"1024" doc:"One's own"`
	} `nameHint:"MakeRecoveryKit"`
}

type recoveryKitOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func (s *Server) makeRecoveryKit(ctx context.Context, in *recoveryKitInput) (*recoveryKitOutput, error) {
	if err := vault.CheckPassphrase(in.Body.Passphrase); err != nil {
		return nil, err
	}
	if err := s.confirmFor(ctx, in.ID, in.Body.CurrentPassword); err != nil {
		return nil, err
	}
	kit, err := s.o.Vault.Kit(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.Passphrase)
	return &recoveryKitOutput{ContentType: "application/octet-stream", Disposition: `attachment; filename="` + kit.Name + `"`, Body: kit.Sealed}, err
}

type rotateRepositoryInput struct {
	ByID
	Body struct {
		HostID string `json:"host_id,omitempty" doc:"The machine that does it; empty: the one that maintains the repository, else one that uses it"`
	} `nameHint:"RotateRepository"`
}

func (s *Server) rotateRepository(ctx context.Context, in *rotateRepositoryInput) (*repositoryOutput, error) {
	r, err := s.o.Vault.Rotate(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.HostID)
	return &repositoryOutput{r}, err
}

func (s *Server) giveUpRotation(ctx context.Context, in *ByID) (*none, error) {
	return nil, s.o.Vault.GiveUpRotation(ctx, exchangeOf(ctx).actor(), in.ID)
}

// Days is how many days back.
type Days struct {
	Days int `query:"days" minimum:"1" maximum:"730" default:"90" doc:"How many days, today included"`
}

type growthInput struct {
	ByID
	Days
}

type growthOutput struct{ Body vault.Growth }

func (s *Server) getRepositoryGrowth(ctx context.Context, in *growthInput) (*growthOutput, error) {
	g, err := s.o.Vault.Growth(ctx, in.ID, in.Days.Days)
	return &growthOutput{g}, err
}

func (s *Server) getGrowth(ctx context.Context, in *Days) (*growthOutput, error) {
	g, err := s.o.Vault.Growth(ctx, "", in.Days)
	return &growthOutput{g}, err
}
