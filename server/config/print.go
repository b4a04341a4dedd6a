package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Print writes the settings in force as YAML, each with where it comes from; secrets are left out. What it
// prints is a file that can be read again, but for the secrets.
func (l *Loader) Print(w io.Writer, s *Settings, flags []*kong.Flag) error {
	onLine := map[string]bool{}
	for _, f := range flags {
		onLine[f.Name] = true
	}
	for _, k := range l.known {
		source := l.sources[k.Name]
		switch {
		case onLine[k.Name] && source == "":
			source = "flag"
		case source == "":
			source = "default"
		}
		value, err := yaml.Marshal(shown(s, k))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s: %s  # %s\n", k.Key(), strings.TrimSpace(string(value)), source); err != nil {
			return err
		}
	}
	return nil
}

// shown is a setting's value as people may see it.
func shown(s *Settings, k Setting) any {
	v := field(reflect.ValueOf(s).Elem(), k.Name)
	switch v := v.Interface().(type) {
	case string:
		switch {
		case v == "":
			return nil
		case k.Name == "database":
			return withoutSecrets(v)
		case k.Secret:
			return "(hidden)"
		}
		return v
	case []Network:
		var list []string
		for _, n := range v {
			list = append(list, n.String())
		}
		return strings.Join(list, ",")
	case fmt.Stringer:
		return v.String()
	default:
		return v
	}
}

// field finds a setting in the struct by the name that kong gives it.
func field(v reflect.Value, name string) reflect.Value {
	want := strings.ReplaceAll(name, "-", "")
	return v.FieldByNameFunc(func(f string) bool { return strings.EqualFold(f, want) })
}

// withoutSecrets leaves of a database's URL who connects where: passwords stand in it and in its query.
func withoutSecrets(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(hidden)"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.User != nil {
		shown.User = url.User(u.User.Username())
	}
	return shown.String()
}
