package fleetfile

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"restic-manager/server/policy"
)

// Bounds of a document: its bytes, and its values with what aliases repeat.
const (
	maxBytes  = 8 << 20
	maxValues = 500_000
	maxErrors = 20
)

// Problem is one thing that is wrong in a document.
type Problem struct {
	Line int    `json:"line"` // 0: of the whole
	Text string `json:"text"`
}

// Problems are what is wrong with a document, in the order of its lines. Name is the file's.
type Problems struct {
	Name string
	List []Problem
}

// Error has a line for each.
func (p *Problems) Error() string {
	var lines []string
	for _, one := range p.List[:min(len(p.List), maxErrors)] {
		if one.Line > 0 {
			lines = append(lines, fmt.Sprintf("%s:%d: %s", p.Name, one.Line, one.Text))
		} else {
			lines = append(lines, p.Name+": "+one.Text)
		}
	}
	if more := len(p.List) - maxErrors; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) add(line int, format string, args ...any) {
	p.List = append(p.List, Problem{line, fmt.Sprintf(format, args...)})
}

// Read reads a document. An error is a *Problems that calls the document by the name.
func Read(name string, r io.Reader) (File, error) {
	p := &Problems{Name: name}
	fail := func(line int, text string) (File, error) {
		p.add(line, "%s", text)
		return File{}, p
	}
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return fail(0, "cannot be read: "+err.Error())
	}
	if len(text) > maxBytes {
		return fail(0, fmt.Sprintf("is larger than %d MiB", maxBytes>>20))
	}
	var root, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		return fail(0, fmt.Sprintf("is empty; begin it with version: %d", Version))
	} else if err != nil {
		return fail(syntax(err))
	}
	if err := d.Decode(&second); err == nil {
		return fail(second.Line, "a second document begins here; one file is one document")
	} else if !errors.Is(err, io.EOF) {
		return fail(syntax(err))
	}
	c := &checker{Problems: p}
	c.checkVersion(root.Content[0])
	v, ok := c.value(root.Content[0], documentType, "")
	if len(p.List) > 0 {
		return File{}, p.sorted()
	}
	if !ok { // null, under whatever tag
		return fail(root.Line, fmt.Sprintf("is empty; begin it with version: %d", Version))
	}
	f, err := c.file(v.(map[string]any))
	if err != nil {
		return fail(0, err.Error())
	}
	c.checkNames(f)
	if len(p.List) > 0 {
		return File{}, p.sorted()
	}
	return f, nil
}

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

// syntax is what is wrong with a text that is not YAML, and where.
func syntax(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return line, text
}

func (p *Problems) sorted() *Problems {
	slices.SortStableFunc(p.List, func(a, b Problem) int { return a.Line - b.Line })
	return p
}

// lineOf is the key in a mapping under which its own line is remembered; no field has this name.
const lineOf = "\x00line"

// file makes the typed document of checked values.
func (c *checker) file(m map[string]any) (f File, err error) {
	for _, v := range list(m, "repositories") {
		r := Repository{Line: line(v)}
		if err := typed(v, &r); err != nil {
			return f, err
		}
		c.checkRepository(&r, v)
		f.Repositories = append(f.Repositories, r)
	}
	for _, v := range list(m, "hosts") {
		h := Host{Line: line(v)}
		if err := typed(v, &h); err != nil {
			return f, err
		}
		f.Hosts = append(f.Hosts, h)
	}
	for _, v := range list(m, "policies") {
		p, err := readPolicy(v)
		if err != nil {
			return f, err
		}
		f.Policies = append(f.Policies, p)
	}
	return f, nil
}

func readPolicy(v map[string]any) (Policy, error) {
	p := Policy{Line: line(v), Enabled: true}
	p.Name, _ = v[fieldName].(string)
	p.Repository, _ = v[fieldRepository].(string)
	if on, given := v[fieldEnabled].(bool); given {
		p.Enabled = on
	}
	spec := maps.Clone(v)
	for _, own := range []string{fieldName, fieldEnabled, fieldRepository} {
		delete(spec, own)
	}
	if hosts, ok := spec[fieldHosts].(map[string]any); ok {
		var s selector
		if err := typed(hosts, &s); err != nil {
			return p, err
		}
		p.HostNames = s.Names
		spec[fieldHosts] = policy.Selector{All: s.All, IDs: s.IDs, Labels: s.Labels}
	}
	return p, typed(spec, &p.Spec)
}

func list(m map[string]any, field string) (all []map[string]any) {
	values, _ := m[field].([]any)
	for _, v := range values {
		all = append(all, v.(map[string]any))
	}
	return all
}

func line(v any) int {
	m, _ := v.(map[string]any)
	n, _ := m[lineOf].(int)
	return n
}

// typed puts checked values into their Go type by way of JSON, which is what the API takes.
func typed(v map[string]any, to any) error {
	raw, err := json.Marshal(withoutLines(v))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

func withoutLines(v any) any {
	switch v := v.(type) {
	case map[string]any:
		plain := make(map[string]any, len(v))
		for k, e := range v {
			if k != lineOf {
				plain[k] = withoutLines(e)
			}
		}
		return plain
	case []any:
		plain := make([]any, len(v))
		for i, e := range v {
			plain[i] = withoutLines(e)
		}
		return plain
	}
	return v
}

// checkVersion keeps a later form from being called a wrong one of this.
func (c *checker) checkVersion(n *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == "version" && v.Tag == "!!int" && v.Value != strconv.Itoa(Version) {
			c.add(v.Line, "version: this program reads version %d; for another one take the program that wrote it", Version)
		}
	}
}

// checkRepository looks at what types cannot say.
func (c *checker) checkRepository(r *Repository, v map[string]any) {
	secret := func(field string, s *Secret, v any) {
		s.Line = line(v)
		if (s.Env == "") == (s.File == "") {
			c.add(s.Line, "%s: give either {env: NAME} or {file: PATH}; secrets do not stand in this file", field)
		}
	}
	if r.Password != nil {
		secret("password", r.Password, v["password"])
	}
	for field, env := range map[string]struct {
		values map[string]Secret
		keys   []string
	}{"env": {r.Env, r.EnvKeys}, "maintenance_env": {r.MaintenanceEnv, r.RunnerEnvKeys}} {
		if len(env.values) > 0 && len(env.keys) > 0 {
			c.add(r.Line, "repository %q has %s and %s_keys: give the one that holds all there are to be", r.Name, field, field)
		}
		given, _ := v[field].(map[string]any)
		for k, s := range env.values {
			secret(field+"."+k, &s, given[k])
			env.values[k] = s
		}
	}
}

// checkNames finds names that are there twice, and that name nothing.
func (c *checker) checkNames(f File) {
	repositories := map[string]int{}
	twice := func(seen map[string]int, noun, name string, line int) {
		if strings.TrimSpace(name) != name || name == "" {
			c.add(line, "%s %q: give a name without spaces around it", noun, name)
		}
		if first, there := seen[Key(name)]; there {
			c.add(line, "%s %q is there twice, the first time in line %d (upper and lower case count as the same)", noun, name, first)
			return
		}
		seen[Key(name)] = line
	}
	for _, r := range f.Repositories {
		twice(repositories, "repository", r.Name, r.Line)
	}
	hosts, policies := map[string]int{}, map[string]int{}
	for _, h := range f.Hosts {
		twice(hosts, "host", h.Name, h.Line)
	}
	for _, p := range f.Policies {
		twice(policies, "policy", p.Name, p.Line)
	}
}

// checker walks a document along a Go type.
type checker struct {
	*Problems
	values int
	deep   int
}

// value gives a node's value as JSON would have it: false after a complaint, or for null, which stands for left out.
func (c *checker) value(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	c.deep++
	defer func() { c.deep-- }()
	if c.values++; c.values > maxValues || c.deep > 100 {
		if c.values == maxValues+1 || c.deep == 101 {
			c.add(n.Line, "the document is too large or too deep, or an alias stands within itself")
		}
		return nil, false
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil, false
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return c.text(n, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.fields(n, t, path)
	case reflect.Map:
		return c.entries(n, t, path)
	case reflect.Slice:
		return c.items(n, t, path)
	default:
		return c.scalar(n, t, path)
	}
}

func (c *checker) kind(n *yaml.Node, want yaml.Kind, path, give string) bool {
	if n.Kind != want {
		c.add(n.Line, "%s: %s", name(path), give)
	}
	return n.Kind == want
}

func name(path string) string {
	if path == "" {
		return "the document"
	}
	return path
}

func (c *checker) fields(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if !c.kind(n, yaml.MappingNode, path, "give fields, as in name: value") {
		return nil, false
	}
	known := map[string]reflect.StructField{}
	var names []string
	for _, f := range jsonFields(t) {
		n := jsonName(f)
		known[n] = f
		names = append(names, n)
	}
	m, wrong := map[string]any{lineOf: n.Line}, map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		f, ok := known[k.Value]
		switch {
		case !ok:
			c.add(k.Line, "%s: there is no such field; there are %s", within(path, k.Value), strings.Join(names, ", "))
		case has(m, k.Value):
			c.add(k.Line, "%s is there twice", within(path, k.Value))
		default:
			before := len(c.List)
			v, ok := c.value(n.Content[i+1], f.Type, within(path, k.Value))
			m[k.Value] = v
			wrong[k.Value] = !ok && len(c.List) > before
		}
	}
	for _, name := range names {
		if m[name] != nil {
			continue
		}
		delete(m, name)
		if tag := known[name].Tag.Get("json"); !wrong[name] && !strings.Contains(tag, ",omit") {
			c.add(n.Line, "%s is missing", within(path, name))
		}
	}
	return m, true
}

func has(m map[string]any, key string) bool {
	_, there := m[key]
	return there
}

func within(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

func (c *checker) entries(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if !c.kind(n, yaml.MappingNode, path, "give keys with values, as in key: value") {
		return nil, false
	}
	m := map[string]any{lineOf: n.Line}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || k.Value == "" {
			c.add(k.Line, "%s: give plain text as a key", name(path))
			continue
		}
		if has(m, k.Value) {
			c.add(k.Line, "%s is there twice", within(path, k.Value))
			continue
		}
		v, ok := c.value(n.Content[i+1], t.Elem(), within(path, k.Value))
		if !ok && t.Elem().Kind() == reflect.String && n.Content[i+1].Tag == "!!null" {
			c.add(k.Line, "%s has no value; for an empty one write \"\"", within(path, k.Value))
		}
		if m[k.Value] = v; !ok {
			delete(m, k.Value)
		}
	}
	return m, true
}

func (c *checker) items(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if !c.kind(n, yaml.SequenceNode, path, "give a list, each item behind a dash") {
		return nil, false
	}
	all := []any{}
	for i, e := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		v, ok := c.value(e, t.Elem(), at)
		if ok {
			all = append(all, v)
		} else if e.Tag == "!!null" {
			c.add(e.Line, "%s is empty", at)
		}
	}
	return all, true
}

// scalars are what each kind of Go value is called, and the tag that its text must have.
var scalars = map[reflect.Kind]struct{ tag, give string }{
	reflect.String:  {"!!str", "give text"},
	reflect.Bool:    {"!!bool", "give true or false"},
	reflect.Float64: {"!!float", "give a number"},
}

// text is for types that have a text of their own, as times do. A time without quotes is one for YAML too.
func (c *checker) text(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		c.add(n.Line, "%s: give text", name(path))
		return nil, false
	}
	if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		c.add(n.Line, "%s: %v", name(path), err)
		return nil, false
	}
	return n.Value, true
}

func (c *checker) scalar(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	want, ok := scalars[t.Kind()]
	if !ok {
		want = struct{ tag, give string }{"!!int", "give a whole number"}
	}
	if n.Kind != yaml.ScalarNode || n.Tag != want.tag && !(want.tag == "!!float" && n.Tag == "!!int") {
		hint := want.give
		if n.Kind == yaml.ScalarNode && t.Kind() == reflect.String {
			hint = fmt.Sprintf("give text; in quotes it is: %q", n.Value)
		}
		c.add(n.Line, "%s: %s", name(path), hint)
		return nil, false
	}
	v := reflect.New(t)
	if err := n.Decode(v.Interface()); err != nil {
		c.add(n.Line, "%s: %s that fits", name(path), want.give)
		return nil, false
	}
	return v.Elem().Interface(), true
}
