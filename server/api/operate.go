package api

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
)

// operate binds a call that people make: huma checks the input against its Go type, with nothing unknown in
// it, after strict has made sure that it has one meaning.
func operate[I, O any](h func(context.Context, *I) (*O, error)) bind {
	return func(s *Server, r *Route, op huma.Operation) {
		op.Middlewares = huma.Middlewares{s.strict}
		huma.Register(s.huma, op, h)
	}
}

func humaConfig() huma.Config {
	c := huma.DefaultConfig("restic-manager", "1")
	c.DocsPath, c.SchemasPath, c.OpenAPIPath = "", "", ""
	c.CreateHooks = nil // would add $schema to every body
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	c.Transformers = []huma.Transformer{notNull}
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	return c
}

// schemaName is the type's name; where wire and fleet have the same word for what agents say and for what
// people see, the agents' gets a prefix. So do the words that need their room's name beside them.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case strings.HasSuffix(t.PkgPath(), "/wire") && slices.Contains([]string{"Snapshot", "Settings", "Listing", "Schedule", "Tick", "ScheduledPolicy"}, name):
		return "Agent" + name
	case strings.HasSuffix(t.PkgPath(), "/policy") && slices.Contains([]string{"Spec", "Selector", "Timing", "Version", "Change", "Last", "Plan", "HostPage"}, name):
		return "Policy" + name
	case strings.HasSuffix(t.PkgPath(), "/vault") && name == "Plan":
		return "RepositoryPlan"
	}
	return name
}

// strict reads the body of a call of people and checks that it is one JSON value with one meaning, before huma
// decodes it.
func (s *Server) strict(ctx huma.Context, next func(huma.Context)) {
	c := humaecho.UnwrapV4(ctx)
	if err := s.strictBody(c); err != nil {
		s.write(exchangeOf(ctx.Context()), err)
		return
	}
	next(ctx)
}

func (s *Server) strictBody(c echo.Context) error {
	r := c.Request()
	x := exchangeOf(r.Context())
	b, err := s.readBody(x, r, x.route.limit, false)
	if err != nil {
		return err
	}
	defer b.release()
	if ctx := s.huma.OpenAPI().Paths[x.route.Path]; !takesBody(ctx, r.Method) {
		if t := bytes.TrimSpace(b.plain); len(t) > 0 && string(t) != "{}" {
			return fault.Invalidf("This call takes no body. Leave it out.")
		}
		r.Body = http.NoBody
		return nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return errUnsupported
	}
	if err := checkJSON(b.plain); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(bytes.Clone(b.plain)))
	return nil
}

func takesBody(p *huma.PathItem, method string) bool {
	if p == nil {
		return false
	}
	op := map[string]*huma.Operation{http.MethodGet: p.Get, http.MethodPost: p.Post, http.MethodPut: p.Put, http.MethodPatch: p.Patch, http.MethodDelete: p.Delete}[method]
	return op != nil && op.RequestBody != nil
}

// notNull makes lists and maps that hold nothing [] and {} in what people get: null would be one more case for
// every reader.
func notNull(_ huma.Context, _ string, v any) (any, error) {
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Struct { // not addressable as it is
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		fill(p.Elem())
		return p.Elem().Interface(), nil
	}
	fill(r)
	return v, nil
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Struct:
		t := v.Type()
		for i := range v.NumField() {
			f, tag := v.Field(i), t.Field(i).Tag.Get("json")
			if !f.CanSet() {
				continue
			}
			if !strings.Contains(tag, ",omit") {
				setEmpty(f)
			}
			fill(f)
		}
	case reflect.Slice:
		switch v.Type().Elem().Kind() {
		case reflect.Struct, reflect.Pointer, reflect.Slice:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		}
	}
}

func setEmpty(f reflect.Value) {
	switch {
	case f.Kind() == reflect.Slice && f.IsNil() && f.Type().Elem().Kind() != reflect.Uint8:
		f.Set(reflect.MakeSlice(f.Type(), 0, 0))
	case f.Kind() == reflect.Map && f.IsNil():
		f.Set(reflect.MakeMap(f.Type()))
	}
}
