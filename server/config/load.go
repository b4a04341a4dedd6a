package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Setting is one setting as it is named everywhere.
type Setting struct {
	Name    string // of the flag, without dashes: tls-cert
	Default string
	Help    string
	Value   string // placeholder in help texts; empty for switches
	Secret  bool   // never printed, and may come from a file
	NoFlag  bool   // only by environment and file
}

// Key is the setting's name in the YAML file.
func (s Setting) Key() string { return strings.ReplaceAll(s.Name, "-", "_") }

// Env is the setting's environment variable; with _FILE behind it for a secret's file.
func (s Setting) Env() string { return "RESTIC_MANAGER_" + strings.ToUpper(s.Key()) }

// envs are all variables it is looked for in, the first set one wins.
func (s Setting) envs() []string {
	if s.Name == "database" {
		return []string{s.Env(), "DATABASE_URL"}
	}
	return []string{s.Env()}
}

// Known lists all settings in the order of Settings.
func Known() []Setting {
	parser, err := kong.New(&struct {
		Settings `embed:""`
	}{}, kong.Exit(func(int) {}))
	if err != nil {
		panic(err) // a broken struct tag: every start and every test fails
	}
	var known []Setting
	for _, f := range parser.Model.Flags {
		if f.Name == "help" {
			continue
		}
		s := Setting{Name: f.Name, Default: f.Default, Help: f.Help, Secret: f.Tag.Has("secret")}
		if !f.IsBool() {
			s.Value = f.PlaceHolder
		}
		known = append(known, s)
	}
	for _, s := range offFlags {
		s.NoFlag = true
		known = append(known, s)
	}
	return known
}

// Loader finds what the flags leave open: it is kong's resolver.
type Loader struct {
	env      map[string]string
	fallback string // file that is read where it exists
	known    []Setting
	yaml     map[string]string
	loaded   bool
	sources  map[string]string
}

// NewLoader takes the environment as os.Environ gives it, and the file to read where none is named.
func NewLoader(environ []string, fallback string) *Loader {
	l := &Loader{env: map[string]string{}, fallback: fallback, known: Known(), sources: map[string]string{}}
	for _, e := range environ {
		if k, v, _ := strings.Cut(e, "="); v != "" { // compose files give empty ones for "not set"
			l.env[k] = v
		}
	}
	return l
}

// Validate does nothing; kong asks for it.
func (l *Loader) Validate(*kong.Application) error { return nil }

// Resolve gives the value of a flag that is not on the command line.
func (l *Loader) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	i := slices.IndexFunc(l.known, func(s Setting) bool { return s.Name == flag.Name })
	if i < 0 {
		return nil, nil
	}
	if err := l.load(configFlag(ctx)); err != nil {
		return nil, err
	}
	value, source, err := l.lookup(l.known[i])
	if err != nil || source == "" {
		return nil, err
	}
	try := reflect.New(flag.Target.Type()).Elem()
	if err := flag.Parse(kong.Scan().PushTyped(value, kong.FlagValueToken), try); err != nil {
		return nil, Errorf("%s: %v", source, err)
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), value) {
		return nil, Errorf("%s: %q is not one of %s", source, value, flag.Enum)
	}
	l.sources[flag.Name] = source
	return value, nil
}

// configFlag is the --config of the command line, empty where there is none.
func configFlag(ctx *kong.Context) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			s, _ := ctx.FlagValue(p.Flag).(string)
			return s
		}
	}
	return ""
}

// lookup finds one setting in environment, secret file and YAML; an empty source is not found.
func (l *Loader) lookup(s Setting) (value, source string, err error) {
	for _, name := range s.envs() {
		v, direct := l.env[name]
		path, byFile := l.env[name+"_FILE"]
		switch {
		case direct && byFile && s.Secret:
			return "", "", Errorf("%s and %s_FILE are both set: leave one of them out", name, name)
		case direct:
			return v, name, nil
		case byFile && s.Secret:
			v, err := readSecret(path, name+"_FILE")
			return v, name + "_FILE", err
		}
	}
	if v, ok := l.yaml[s.Key()]; ok {
		return v, "file", nil
	}
	if path, ok := l.yaml[s.Key()+"_file"]; ok && s.Secret {
		v, err := readSecret(path, s.Key()+"_file")
		return v, "file", err
	}
	return "", "", nil
}

// readSecret reads a file that holds one secret; the newline that editors add does not belong to it.
func readSecret(path, named string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", Errorf("%s: %v", named, err)
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return "", Errorf("%s: %s is empty", named, path)
	}
	return v, nil
}

// load reads the YAML file once.
func (l *Loader) load(path string) error {
	if l.loaded {
		return nil
	}
	l.loaded = true
	named := path != ""
	if path == "" {
		path, named = l.env["RESTIC_MANAGER_CONFIG"], l.env["RESTIC_MANAGER_CONFIG"] != ""
	}
	if path == "" {
		path = l.fallback
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return Errorf("read the configuration: %v", err)
	}
	if l.yaml, err = l.parse(raw); err != nil {
		return Errorf("%s: %v", path, err)
	}
	return nil
}

// parse reads the keys of a YAML file. Unknown ones are an error that names them: a setting that is silently
// not in force is worse than a server that does not start.
func (l *Loader) parse(raw []byte) (map[string]string, error) {
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	values := map[string]string{}
	var unknown []string
	for key, node := range doc {
		if !l.knows(key) {
			unknown = append(unknown, key)
			continue
		}
		v, err := scalar(node)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", node.Line, key, err)
		}
		if v != "" {
			values[key] = v
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, fmt.Errorf("unknown settings: %s (restic-manager config print shows the known ones)", strings.Join(unknown, ", "))
	}
	for _, s := range l.known {
		if s.Secret && values[s.Key()] != "" && values[s.Key()+"_file"] != "" {
			return nil, fmt.Errorf("%s and %s_file are both set: leave one of them out", s.Key(), s.Key())
		}
	}
	return values, nil
}

func (l *Loader) knows(key string) bool {
	return slices.ContainsFunc(l.known, func(s Setting) bool {
		return s.Key() == key || s.Secret && s.Key()+"_file" == key
	})
}

func scalar(n yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", nil
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("a list of plain values is expected")
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	}
	return "", errors.New("a plain value or a list of them is expected")
}
