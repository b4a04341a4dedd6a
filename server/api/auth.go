package api

import (
	"context"
	"net/http"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/fault"
)

// none is the input of calls that take none, and the output of those that answer none.
type none struct{}

// ByID names one thing in the path.
type ByID struct {
	ID string `path:"id" doc:"A UUID"`
}

// Page asks for one page of a list.
type Page struct {
	Cursor string `query:"cursor" maxLength:"4096" doc:"next_cursor of the page before; none: the first page"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
}

// cookied is an answer without a body that sets the session's cookie.
type cookied struct {
	Cookie http.Cookie `header:"Set-Cookie"`
}

type setupInput struct {
	UserAgent string `header:"User-Agent" hidden:"true"`
	Body      struct {
		Code     string `json:"code" maxLength:"64" doc:"The set-up code that the server printed"`
		Username string `json:"username" maxLength:"64"`
		Password string `json:"password" maxLength:"512"`
	} `nameHint:"SetUp"`
}

func (s *Server) setup(ctx context.Context, in *setupInput) (*cookied, error) {
	x := exchangeOf(ctx)
	if err := x.checkTransport(); err != nil {
		return nil, err
	}
	secret, session, err := s.o.Access.Setup(ctx, in.Body.Code, in.Body.Username, in.Body.Password, x.addressText(), in.UserAgent)
	if err != nil {
		return nil, err
	}
	return &cookied{x.sessionCookie(secret, session.ExpiresAt)}, nil
}

type loginInput struct {
	UserAgent string `header:"User-Agent" hidden:"true"`
	Body      struct {
		Username string `json:"username" maxLength:"256"`
		Password string `json:"password" maxLength:"1024"`
	} `nameHint:"SignIn"`
}

func (s *Server) login(ctx context.Context, in *loginInput) (*cookied, error) {
	x := exchangeOf(ctx)
	if err := x.checkTransport(); err != nil {
		return nil, err
	}
	secret, session, err := s.o.Access.Login(ctx, in.Body.Username, in.Body.Password, x.addressText(), in.UserAgent)
	if err != nil {
		return nil, err
	}
	return &cookied{x.sessionCookie(secret, session.ExpiresAt)}, nil
}

func (s *Server) logout(ctx context.Context, _ *none) (*cookied, error) {
	x := exchangeOf(ctx)
	if err := s.o.Access.Logout(ctx, x.principal, x.addressText()); err != nil {
		return nil, err
	}
	return &cookied{x.sessionCookie("", time.Time{})}, nil
}

// Me is who is signed in.
type Me struct {
	ID        string         `json:"id"`
	Username  string         `json:"username"`
	Role      access.Role    `json:"role" enum:"administrator,operator,viewer"`
	SessionID string         `json:"session_id" doc:"Empty for an API key"`
	Scopes    []access.Scope `json:"scopes,omitempty" doc:"Of an API key: what it may do"`
	APIKey    bool           `json:"api_key,omitempty" doc:"It is an API key; id and username are the key's"`
}

type meOutput struct{ Body Me }

func (s *Server) me(ctx context.Context, _ *none) (*meOutput, error) {
	p := exchangeOf(ctx).principal
	return &meOutput{Me{ID: p.OperatorID, Username: p.Username, Role: p.Role, SessionID: p.SessionID, APIKey: p.Key, Scopes: p.KeyScopes()}}, nil
}

type passwordInput struct {
	Body struct {
		Current string `json:"current" maxLength:"1024"`
		New     string `json:"new" maxLength:"512" doc:"12 characters or more"`
	} `nameHint:"ChangePassword"`
}

func (s *Server) changePassword(ctx context.Context, in *passwordInput) (*none, error) {
	x := exchangeOf(ctx)
	return &none{}, s.o.Access.ChangePassword(ctx, x.principal, in.Body.Current, in.Body.New, x.addressText())
}

type sessionsOutput struct {
	Body struct {
		Sessions []access.Session `json:"sessions"`
	} `nameHint:"Sessions"`
}

func (s *Server) listSessions(ctx context.Context, _ *none) (*sessionsOutput, error) {
	out := &sessionsOutput{}
	var err error
	out.Body.Sessions, err = s.o.Access.Sessions(ctx, exchangeOf(ctx).principal.OperatorID)
	return out, err
}

func (s *Server) deleteSession(ctx context.Context, in *ByID) (*none, error) {
	x := exchangeOf(ctx)
	return &none{}, s.o.Access.DeleteSession(ctx, x.actor(), x.principal.OperatorID, in.ID)
}

type operatorsOutput struct {
	Body struct {
		Operators  []access.OperatorAccount `json:"operators"`
		NextCursor string                   `json:"next_cursor,omitempty"`
	} `nameHint:"Operators"`
}

func (s *Server) listOperators(ctx context.Context, in *Page) (*operatorsOutput, error) {
	out := &operatorsOutput{}
	var err error
	out.Body.Operators, out.Body.NextCursor, err = s.o.Access.Operators(ctx, access.Page{Cursor: in.Cursor, Limit: in.Limit})
	return out, err
}

type operatorOutput struct{ Body access.OperatorAccount }

func (s *Server) getOperator(ctx context.Context, in *ByID) (*operatorOutput, error) {
	o, err := s.o.Access.OperatorByID(ctx, in.ID)
	return &operatorOutput{o}, err
}

type createOperatorInput struct {
	Body struct {
		Username string      `json:"username" maxLength:"64"`
		Password string      `json:"password" maxLength:"512" doc:"12 characters or more"`
		Role     access.Role `json:"role" enum:"administrator,operator,viewer"`
	} `nameHint:"CreateOperator"`
}

func (s *Server) createOperator(ctx context.Context, in *createOperatorInput) (*operatorOutput, error) {
	o, err := s.o.Access.CreateOperator(ctx, exchangeOf(ctx).actor(), access.NewOperator(in.Body))
	return &operatorOutput{o}, err
}

type updateOperatorInput struct {
	ByID
	Body struct {
		Username *string      `json:"username,omitempty" maxLength:"64"`
		Password *string      `json:"password,omitempty" maxLength:"512" doc:"12 characters or more; ends the operator's sessions"`
		Role     *access.Role `json:"role,omitempty" enum:"administrator,operator,viewer"`
		Disabled *bool        `json:"disabled,omitempty" doc:"A disabled operator cannot sign in"`
	} `nameHint:"UpdateOperator"`
}

func (s *Server) updateOperator(ctx context.Context, in *updateOperatorInput) (*operatorOutput, error) {
	p := access.OperatorPatch{Username: in.Body.Username, Role: in.Body.Role, Disabled: in.Body.Disabled, Password: in.Body.Password}
	if p == (access.OperatorPatch{}) {
		return nil, errNothing()
	}
	o, err := s.o.Access.UpdateOperator(ctx, exchangeOf(ctx).actor(), in.ID, p)
	return &operatorOutput{o}, err
}

func errNothing() error { return fault.Invalidf("Nothing to change: name at least one field.") }

func (s *Server) deleteOperator(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Access.DeleteOperator(ctx, exchangeOf(ctx).actor(), in.ID)
}

type auditInput struct {
	Page
	Action string    `query:"action" maxLength:"128" doc:"An action (host.revoke) or its noun (host)"`
	Actor  string    `query:"actor" maxLength:"128" doc:"Who acted: an id or a name"`
	Target string    `query:"target" maxLength:"128" doc:"What was acted on, noun:id, or its noun"`
	Before time.Time `query:"before"`
	After  time.Time `query:"after"`
}

type auditOutput struct {
	Body struct {
		Entries    []access.AuditEntry `json:"entries"`
		NextCursor string              `json:"next_cursor,omitempty"`
	} `nameHint:"AuditPage"`
}

func (s *Server) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	out := &auditOutput{}
	f := access.AuditFilter{Action: in.Action, Actor: in.Actor, Target: in.Target, Before: given(in.Before), After: given(in.After)}
	var err error
	out.Body.Entries, out.Body.NextCursor, err = s.o.Access.Audit(ctx, f, access.Page{Cursor: in.Cursor, Limit: in.Limit})
	return out, err
}

// given is nil for a time that was not given.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
