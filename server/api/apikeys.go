package api

import (
	"context"

	"restic-manager/server/access"
)

// APIKeySecret is a new key. The secret is told this once.
type APIKeySecret struct {
	access.APIKey
	Secret string `json:"secret" doc:"Send it as Authorization: Bearer. It is not kept: only its hash is"`
}

type createAPIKeyInput struct {
	Body struct {
		Name             string         `json:"name" maxLength:"128" doc:"Where the key is used"`
		Role             access.Role    `json:"role,omitempty" enum:"operator,viewer" doc:"Gives all scopes of the role; left out: scopes are given"`
		Scopes           []access.Scope `json:"scopes,omitempty" maxItems:"16" doc:"What it may do: fleet:read, jobs:write, policies:write, repositories:write, hosts:write. None includes another"`
		ExpiresInSeconds int64          `json:"expires_in_seconds,omitempty" minimum:"0" doc:"0: it does not expire"`
	} `nameHint:"CreateAPIKey"`
}

type apiKeySecretOutput struct{ Body APIKeySecret }

func (s *Server) createAPIKey(ctx context.Context, in *createAPIKeyInput) (*apiKeySecretOutput, error) {
	k, secret, err := s.o.Access.CreateAPIKey(ctx, exchangeOf(ctx).actor(), access.NewAPIKey{
		Name: in.Body.Name, Role: in.Body.Role, Scopes: in.Body.Scopes, ExpiresIn: seconds(in.Body.ExpiresInSeconds)})
	return &apiKeySecretOutput{APIKeySecret{k, secret}}, err
}

type apiKeysOutput struct {
	Body struct {
		Keys []access.APIKey `json:"api_keys"`
	} `nameHint:"APIKeys"`
}

func (s *Server) listAPIKeys(ctx context.Context, _ *none) (*apiKeysOutput, error) {
	out := &apiKeysOutput{}
	var err error
	out.Body.Keys, err = s.o.Access.APIKeys(ctx)
	return out, err
}

func (s *Server) deleteAPIKey(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Access.DeleteAPIKey(ctx, exchangeOf(ctx).actor(), in.ID)
}
