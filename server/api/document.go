package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"restic-manager/shared/wire"
)

// raw binds a handler that reads or writes something other than one JSON value. contract says the rest.
func raw(h func(s *Server, c echo.Context, x *exchange) error, contract func(*Server, *huma.Operation)) bind {
	return func(s *Server, r *Route, op huma.Operation) {
		s.pathParameters(r, &op)
		op.Responses = map[string]*huma.Response{}
		contract(s, &op)
		s.problemResponse(&op)
		s.huma.OpenAPI().AddOperation(&op)
		s.echo.Add(r.Method, r.echoPath(), func(c echo.Context) error {
			return h(s, c, exchangeOf(c.Request().Context()))
		})
	}
}

// describe adds an agents' call to the contract.
func describe[I, O any](s *Server, r *Route, op *huma.Operation) {
	registry := s.huma.OpenAPI().Components.Schemas
	s.pathParameters(r, op)
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		echo.MIMEApplicationJSON: {Schema: registry.Schema(reflect.TypeFor[I](), true, "")}}}
	op.Responses = map[string]*huma.Response{}
	respond(op, r.code(), echo.MIMEApplicationJSON, registry.Schema(reflect.TypeFor[O](), true, ""))
	s.problemResponse(op)
	s.huma.OpenAPI().AddOperation(op)
}

func respond(op *huma.Operation, code int, mediaType string, schema *huma.Schema) {
	response := &huma.Response{Description: http.StatusText(code)}
	if schema != nil {
		response.Content = map[string]*huma.MediaType{mediaType: {Schema: schema}}
	}
	op.Responses[strconv.Itoa(code)] = response
}

func (s *Server) problemResponse(op *huma.Operation) {
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	op.Responses["default"] = &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{wire.ProblemContentType: {Schema: schema}}}
}

// pathParameters tells a row's parameters in the path and the headers that agents send.
func (s *Server) pathParameters(r *Route, op *huma.Operation) {
	for part := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			op.Parameters = append(op.Parameters, &huma.Param{Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
		}
	}
	if r.Permission == Agent {
		op.Parameters = append(op.Parameters, header(wire.HeaderProtocol, "The protocol's version", &huma.Schema{Type: "integer"}))
	}
	if r.needsLease() && r.Permission == Agent {
		op.Parameters = append(op.Parameters, header(wire.HeaderLease, "The agent's hold of the job", &huma.Schema{Type: "string"}))
	}
}

func header(name, doc string, schema *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "header", Required: true, Description: doc, Schema: schema}
}

func query(op *huma.Operation, required bool, schema *huma.Schema, names ...string) {
	for _, n := range names {
		op.Parameters = append(op.Parameters, &huma.Param{Name: n, In: "query", Required: required, Schema: schema})
	}
}

func contractOfPoll(s *Server, op *huma.Operation) {
	number, word := &huma.Schema{Type: "integer"}, &huma.Schema{Type: "string"}
	query(op, true, word, "boot")
	query(op, false, number, "wait", "seq", "free_long", "free_short")
	query(op, false, word, "mark", "jobs", "config")
	respond(op, 200, echo.MIMEApplicationJSON, s.schema(reflect.TypeFor[wire.PollReply]()))
}

func contractOfLog(s *Server, op *huma.Operation) {
	query(op, true, &huma.Schema{Type: "integer"}, "first_line", "lines")
	query(op, false, &huma.Schema{Type: "string"}, "sum_before")
	op.RequestBody = ndjson()
	respond(op, 200, echo.MIMEApplicationJSON, s.schema(reflect.TypeFor[wire.LogReply]()))
}

func contractOfPart(s *Server, op *huma.Operation) {
	op.RequestBody = ndjson()
	respond(op, 200, echo.MIMEApplicationJSON, s.schema(reflect.TypeFor[wire.Empty]()))
}

func contractOfText(_ *Server, op *huma.Operation) {
	respond(op, 200, echo.MIMETextPlain, &huma.Schema{Type: "string"})
}

func contractOfJSON(_ *Server, op *huma.Operation) {
	respond(op, 200, echo.MIMEApplicationJSON, &huma.Schema{Type: "object", AdditionalProperties: true})
}

func ndjson() *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/x-ndjson": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
}

func (s *Server) schema(t reflect.Type) *huma.Schema {
	return s.huma.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// document writes the contract, once all routes are there. The bytes are the same for the same code: maps are
// written in the order of their keys.
func (s *Server) document() []byte {
	d := s.huma.OpenAPI()
	d.Info.Description = "Central manager for restic backups. People sign in and hold a session cookie; agents hold a bearer. Errors are RFC 9457 problems with a stable code."
	d.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"session":         {Type: "apiKey", In: "cookie", Name: cookieName, Description: "Given by POST /api/auth/login over HTTPS."},
		"sessionInsecure": {Type: "apiKey", In: "cookie", Name: cookieNameInsecure, Description: "The same over plain HTTP, where that is allowed."},
		"agent":           {Type: "http", Scheme: "bearer", Description: "The secret that an agent made when it was enrolled."},
		"metrics":         {Type: "http", Scheme: "bearer", Description: "The server's metrics token."},
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	s.mend(doc)
	if b, err = json.MarshalIndent(doc, "", "  "); err != nil {
		panic(err)
	}
	return append(b, '\n')
}

// Schema is the JSON schema (2020-12) of a Go type, made as the contract's are: the same bytes for the same code.
func Schema(t reflect.Type, title string) []byte {
	registry := huma.NewMapRegistry("#/$defs/", schemaName)
	b, err := json.Marshal(registry.Schema(t, false, "Fleet"))
	if err != nil {
		panic(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	doc["$schema"], doc["title"], doc["$defs"] = "https://json-schema.org/draft/2020-12/schema", title, registry.Map()
	if b, err = json.MarshalIndent(doc, "", "  "); err != nil {
		panic(err)
	}
	return append(b, '\n')
}

// mend corrects what the generator cannot know: agents' messages may hold more than is named; pointers to
// objects that are always written may be null; what was asked before is answered by 200; and a job's spec is
// one of the typed ones.
func (s *Server) mend(doc map[string]any) {
	registry := s.huma.OpenAPI().Components.Schemas
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name, v := range schemas {
		schema := v.(map[string]any)
		t := registry.TypeFromRef("#/components/schemas/" + name)
		if strings.HasSuffix(t.PkgPath(), "/wire") && schema["type"] == "object" {
			delete(schema, "additionalProperties")
		}
		properties, _ := schema["properties"].(map[string]any)
		mendFields(t, properties)
	}
	for _, r := range s.table() {
		if r.repeats {
			responses := doc["paths"].(map[string]any)[r.Path].(map[string]any)[strings.ToLower(r.Method)].(map[string]any)["responses"].(map[string]any)
			made := responses[strconv.Itoa(r.status)].(map[string]any)
			responses["200"] = map[string]any{"description": "It was ordered before", "content": made["content"]}
		}
	}
	specs := s.addSpecs(schemas)
	for _, name := range []string{"Job", "OrderJob"} {
		p := schemas[name].(map[string]any)["properties"].(map[string]any)
		p["spec"] = map[string]any{"anyOf": specs, "description": "The typed order of the kind."}
	}
}

// addSpecs puts the typed specs into the contract, though no Go field holds one, and gives references to them.
func (s *Server) addSpecs(schemas map[string]any) (refs []any) {
	for _, k := range wire.Kinds {
		spec, err := wire.NewSpec(k.Kind)
		if err != nil {
			panic(err) // the table names kinds that are
		}
		t := reflect.TypeOf(spec).Elem()
		schemas[t.Name()] = s.huma.OpenAPI().Components.Schemas.Schema(t, false, "")
		refs = append(refs, map[string]any{"$ref": "#/components/schemas/" + t.Name()})
	}
	return refs
}

// mendFields marks fields that are written as null when there is nothing, and names the words that kinds and
// states can be.
func mendFields(t reflect.Type, properties map[string]any) {
	if t.Kind() != reflect.Struct {
		return
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		property, ok := properties[name].(map[string]any)
		if !ok {
			continue
		}
		switch f.Type {
		case reflect.TypeFor[wire.State]():
			property["enum"] = wire.States
		case reflect.TypeFor[wire.Kind]():
			property["enum"] = kinds()
		}
		if ref, ok := property["$ref"]; ok && f.Type.Kind() == reflect.Pointer && !strings.Contains(options, "omit") {
			properties[name] = map[string]any{"anyOf": []any{map[string]any{"$ref": ref}, map[string]any{"type": "null"}}}
		}
	}
}

func kinds() (words []wire.Kind) {
	for _, k := range wire.Kinds {
		words = append(words, k.Kind)
	}
	return words
}
