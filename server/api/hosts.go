package api

import (
	"context"
	"math"
	"time"

	"restic-manager/server/fault"
	"restic-manager/server/fleet"
)

// EnrollmentSecret is a new token. The secret is told this once.
type EnrollmentSecret struct {
	fleet.EnrollmentToken
	Token string `json:"token" doc:"Give it to restic-manager-agent enroll --token. It is not kept: only its hash is"`
}

type createTokenInput struct {
	Body struct {
		Name             string            `json:"name,omitempty" maxLength:"128" doc:"The host's name to be; none: the machine's own"`
		Labels           map[string]string `json:"labels,omitempty" doc:"The host's labels to be"`
		ExpiresInSeconds int64             `json:"expires_in_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"0: an hour"`
	} `nameHint:"CreateEnrollmentToken"`
}

type tokenOutput struct{ Body EnrollmentSecret }

func (s *Server) createToken(ctx context.Context, in *createTokenInput) (*tokenOutput, error) {
	t, secret, err := s.o.Fleet.CreateEnrollmentToken(ctx, exchangeOf(ctx).actor(), fleet.NewEnrollmentToken{
		Name: in.Body.Name, Labels: in.Body.Labels, ExpiresIn: seconds(in.Body.ExpiresInSeconds)})
	return &tokenOutput{EnrollmentSecret{t, secret}}, err
}

// seconds is a length of time, as long as one can be at most.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Second))) * time.Second
}

type tokensOutput struct {
	Body struct {
		Tokens     []fleet.EnrollmentToken `json:"tokens"`
		NextCursor string                  `json:"next_cursor,omitempty"`
	} `nameHint:"EnrollmentTokens"`
}

func (s *Server) listTokens(ctx context.Context, in *Page) (*tokensOutput, error) {
	out := &tokensOutput{}
	var err error
	out.Body.Tokens, out.Body.NextCursor, err = s.o.Fleet.EnrollmentTokens(ctx, in.page())
	return out, err
}

func (p Page) page() fleet.Page { return fleet.Page{Cursor: p.Cursor, Limit: p.Limit} }

type enrollmentTokenOutput struct{ Body fleet.EnrollmentToken }

func (s *Server) getToken(ctx context.Context, in *ByID) (*enrollmentTokenOutput, error) {
	t, err := s.o.Fleet.EnrollmentTokenByID(ctx, in.ID)
	return &enrollmentTokenOutput{t}, err
}

func (s *Server) deleteToken(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Fleet.DeleteEnrollmentToken(ctx, exchangeOf(ctx).actor(), in.ID)
}

type hostsInput struct {
	Page
	HostQuery
	Sort  string `query:"sort" enum:"name,last_success,last_seen,protection,snapshots,size,version,status" default:"name" doc:"protection and status begin with the worst, last_success and last_seen with what is longest ago or never was"`
	Order string `query:"order" enum:"asc,desc" default:"asc"`
}

type hostsOutput struct{ Body fleet.HostPage }

func (s *Server) listHosts(ctx context.Context, in *hostsInput) (*hostsOutput, error) {
	p, err := s.o.Fleet.Hosts(ctx, in.filter(), fleet.HostOrder{Sort: in.Sort, Descending: in.Order == "desc", Group: in.Group}, in.page())
	return &hostsOutput{p}, err
}

type calendarInput struct {
	ByID
	Days      int `query:"days" minimum:"1" maximum:"366" default:"90" doc:"So many days up to today"`
	UTCOffset int `query:"utc_offset_minutes" minimum:"-840" maximum:"840" doc:"How far the days' midnight is ahead of UTC's"`
}

type calendarOutput struct{ Body fleet.Calendar }

func (s *Server) getCalendar(ctx context.Context, in *calendarInput) (*calendarOutput, error) {
	c, err := s.o.Fleet.Calendar(ctx, in.ID, in.Days, time.Duration(in.UTCOffset)*time.Minute)
	return &calendarOutput{c}, err
}

type hostOutput struct{ Body fleet.Host }

func (s *Server) getHost(ctx context.Context, in *ByID) (*hostOutput, error) {
	h, err := s.o.Fleet.HostByID(ctx, in.ID)
	return &hostOutput{h}, err
}

type updateHostInput struct {
	ByID
	Body struct {
		Name   *string            `json:"name,omitempty" maxLength:"128"`
		Labels *map[string]string `json:"labels,omitempty" doc:"All labels there are to be"`
	} `nameHint:"UpdateHost"`
}

func (s *Server) updateHost(ctx context.Context, in *updateHostInput) (*hostOutput, error) {
	if in.Body.Name == nil && in.Body.Labels == nil {
		return nil, errNothing()
	}
	h, err := s.o.Fleet.UpdateHost(ctx, exchangeOf(ctx).actor(), in.ID, fleet.HostPatch{Name: in.Body.Name, Labels: in.Body.Labels})
	return &hostOutput{h}, err
}

func (s *Server) deleteHost(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Fleet.DeleteHost(ctx, exchangeOf(ctx).actor(), in.ID)
}

func (s *Server) revokeHost(ctx context.Context, in *ByID) (*hostOutput, error) {
	h, err := s.o.Fleet.RevokeHost(ctx, exchangeOf(ctx).actor(), in.ID)
	return &hostOutput{h}, err
}

func (s *Server) clearCloneAlarm(ctx context.Context, in *ByID) (*hostOutput, error) {
	h, err := s.o.Fleet.ClearCloneAlarm(ctx, exchangeOf(ctx).actor(), in.ID)
	return &hostOutput{h}, err
}

type repositoryInput struct {
	ByID
	Body struct {
		SettingID string            `json:"setting_id,omitempty" doc:"A repository's id, in place of the others: the host uses that one"`
		URL       string            `json:"url,omitempty" maxLength:"4096" doc:"As restic's --repo, without a password in it"`
		Password  string            `json:"password,omitempty" maxLength:"4096"`
		Env       map[string]string `json:"env,omitempty" doc:"Credentials of the backend"`
	} `nameHint:"PutRepository"`
}

func (s *Server) putRepository(ctx context.Context, in *repositoryInput) (*none, error) {
	actor, b := exchangeOf(ctx).actor(), in.Body
	if b.SettingID == "" {
		return &none{}, s.o.Fleet.PutRepository(ctx, actor, in.ID, fleet.RepositoryConfig{URL: b.URL, Password: b.Password, Env: b.Env})
	}
	if b.URL != "" || b.Password != "" || b.Env != nil {
		return nil, fault.Invalidf("setting_id: give it alone, or url and password without it")
	}
	return &none{}, s.o.Vault.Use(ctx, actor, in.ID, b.SettingID)
}

func (s *Server) deleteRepository(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Fleet.DeleteRepository(ctx, exchangeOf(ctx).actor(), in.ID)
}

type snapshotsInput struct {
	ByID
	Page
	All  bool   `query:"all" doc:"The whole repository's, not only the host's own"`
	Path string `query:"path" maxLength:"4096" doc:"Part of one of its paths"`
	Tag  string `query:"tag" maxLength:"256" doc:"One of its tags"`
}

type snapshotsOutput struct{ Body fleet.SnapshotPage }

func (s *Server) listSnapshots(ctx context.Context, in *snapshotsInput) (*snapshotsOutput, error) {
	p, err := s.o.Fleet.Snapshots(ctx, in.ID, fleet.SnapshotFilter{All: in.All, Path: in.Path, Tag: in.Tag}, in.page())
	return &snapshotsOutput{p}, err
}

type snapshotInput struct {
	ByID
	Snapshot string `path:"snapshot" doc:"Its id, or 8 digits and more of the beginning that no other has"`
}

type snapshotOutput struct{ Body fleet.Snapshot }

func (s *Server) getSnapshot(ctx context.Context, in *snapshotInput) (*snapshotOutput, error) {
	o, err := s.o.Fleet.SnapshotByID(ctx, in.ID, in.Snapshot)
	return &snapshotOutput{o}, err
}
