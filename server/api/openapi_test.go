package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

var update = flag.Bool("update", false, "rewrite frontend/openapi.json")

const checkedIn = "../../frontend/openapi.json"

func TestContractIsTheCheckedInOne(t *testing.T) {
	got := OpenAPI()
	if *update {
		if err := os.WriteFile(checkedIn, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(checkedIn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("frontend/openapi.json is not the contract of this code: run go test ./api -run TestContract -update in server, and generate the client anew")
	}
}

func TestContractHasTheSameBytesEachTime(t *testing.T) {
	if !bytes.Equal(OpenAPI(), OpenAPI()) {
		t.Error("two calls gave different bytes")
	}
}

// contract is what the tests read of the document.
type contract struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Permission  string                `json:"x-permission"`
		Security    []map[string][]string `json:"security"`
		Parameters  []struct{ Name, In string }
		Responses   map[string]json.RawMessage
	} `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage
	} `json:"components"`
}

func readContract(t *testing.T) contract {
	t.Helper()
	var c contract
	if err := json.Unmarshal(OpenAPI(), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContractNamesEveryRouteAndNoOther(t *testing.T) {
	c := readContract(t)
	s, err := build(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	rows := map[string]*Route{}
	for _, r := range s.table() {
		rows[strings.ToLower(r.Method)+" "+r.Path] = r
		op, ok := c.Paths[r.Path][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s %s is served and not in the contract", r.Method, r.Path)
			continue
		}
		if op.OperationID != r.ID || op.Permission != string(r.Permission) {
			t.Errorf("%s %s: got id %q permission %q, want %q %q", r.Method, r.Path, op.OperationID, op.Permission, r.ID, r.Permission)
		}
		if secured := len(op.Security) > 0; secured != (r.Permission != Public && r.Permission != Setup) {
			t.Errorf("%s %s: permission %s, and security in the contract: %v", r.Method, r.Path, r.Permission, secured)
		}
		for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.Path, -1) {
			found := false
			for _, p := range op.Parameters {
				found = found || p.In == "path" && p.Name == name[1]
			}
			if !found {
				t.Errorf("%s %s: the contract lacks the parameter %s", r.Method, r.Path, name[1])
			}
		}
	}
	for path, methods := range c.Paths {
		for method := range methods {
			if rows[method+" "+path] == nil {
				t.Errorf("%s %s is in the contract and not served", method, path)
			}
		}
	}
}

func TestContractForm(t *testing.T) {
	c := readContract(t)
	if !strings.HasPrefix(c.OpenAPI, "3.1") {
		t.Errorf("got OpenAPI %s, want 3.1", c.OpenAPI)
	}
	seen := map[string]bool{}
	camel := regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	for path, methods := range c.Paths {
		for method, op := range methods {
			if !camel.MatchString(op.OperationID) || seen[op.OperationID] {
				t.Errorf("%s %s: operation id %q is not camelCase, or there twice", method, path, op.OperationID)
			}
			seen[op.OperationID] = true
			if op.Responses["default"] == nil {
				t.Errorf("%s %s: no problem in the contract", method, path)
			}
		}
	}
	for _, path := range []string{"/api/hosts/{id}/jobs", "/api/jobs/{id}/retry"} {
		if r := c.Paths[path]["post"].Responses; r["201"] == nil || !bytes.Contains(r["200"], []byte("schemas/Job")) {
			t.Errorf("POST %s: got %s for 200, want a job", path, r["200"])
		}
	}
	if bytes.Contains(OpenAPI(), []byte("$schema")) {
		t.Error("the contract names $schema")
	}
	for _, name := range []string{"BackupSpec", "RestoreSpec", "Host", "Job", "Problem"} {
		if c.Components.Schemas[name] == nil {
			t.Errorf("the contract has no schema %s", name)
		}
	}
}

func TestRouteWithoutPermissionPanics(t *testing.T) {
	for name, row := range map[string]*Route{
		"none":             route(get, "/api/x", "", "x", "X", raw((*Server).healthz, contractOfText)),
		"unknown":          route(get, "/api/x", "everyone", "x", "X", raw((*Server).healthz, contractOfText)),
		"people's prefix":  route(get, "/api/x", Agent, "x", "X", raw((*Server).healthz, contractOfText)),
		"agents' prefix":   route(get, "/api/agents/x", Viewer, "x", "X", raw((*Server).healthz, contractOfText)),
		"no operation id":  route(get, "/api/x", Viewer, "", "X", raw((*Server).healthz, contractOfText)),
		"served unwritten": route(get, "/api/x", Viewer, "x", "X", unwritten),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := build(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			defer func() {
				if recover() == nil {
					t.Error("the table was taken")
				}
			}()
			s.register([]*Route{row})
		})
	}
}

// unwritten serves a path that its row does not name.
func unwritten(s *Server, r *Route, _ huma.Operation) {
	s.echo.Add(r.Method, "/api/other", func(echo.Context) error { return nil })
}
