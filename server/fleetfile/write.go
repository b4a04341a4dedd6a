package fleetfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Write writes the document in its one form, below a comment of the lines in head: the same bytes for the same fleet.
func (f File) Write(w io.Writer, head ...string) error {
	var b bytes.Buffer
	for _, line := range head {
		fmt.Fprintln(&b, strings.TrimRight("# "+line, " "))
	}
	d := document{Version: Version, Repositories: slices.Clone(f.Repositories), Hosts: slices.Clone(f.Hosts)}
	slices.SortFunc(d.Repositories, func(a, b Repository) int { return byName(a.Name, b.Name) })
	slices.SortFunc(d.Hosts, func(a, b Host) int { return byName(a.Name, b.Name) })
	policies := slices.Clone(f.Policies)
	slices.SortFunc(policies, func(a, b Policy) int { return byName(a.Name, b.Name) })
	for _, p := range policies {
		raw, err := p.json()
		if err != nil {
			return err
		}
		d.Policies = append(d.Policies, raw)
	}
	node, err := block(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

func byName(a, b string) int { return cmp.Or(cmp.Compare(Key(a), Key(b)), cmp.Compare(a, b)) }

// document is what is written.
type document struct {
	Version      int               `json:"version"`
	Repositories []Repository      `json:"repositories,omitempty"`
	Hosts        []Host            `json:"hosts,omitempty"`
	Policies     []json.RawMessage `json:"policies,omitempty"`
}

// json is the policy as it stands in the document, its fields in the order of the spec's.
func (p Policy) json() (json.RawMessage, error) {
	head := struct {
		Name       string   `json:"name"`
		Enabled    *bool    `json:"enabled,omitempty"`
		Repository string   `json:"repository,omitempty"`
		Hosts      selector `json:"hosts"`
	}{Name: p.Name, Repository: p.Repository, Hosts: selector{All: p.Spec.Hosts.All, IDs: sorted(p.Spec.Hosts.IDs), Labels: p.Spec.Hosts.Labels, Names: sorted(p.HostNames)}}
	if !p.Enabled {
		head.Enabled = &p.Enabled
	}
	first, err := plain(head)
	if err != nil {
		return nil, err
	}
	spec := p.Spec
	spec.RepositoryID = ""
	rest, err := plain(spec)
	if err != nil {
		return nil, err
	}
	fields, err := ordered(rest)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(first[:len(first)-1])
	for _, f := range fields {
		if f.name != fieldHosts {
			fmt.Fprintf(b, ",%q:%s", f.name, f.value)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.SortFunc(list, byName)
	return slices.Compact(list)
}

type member struct {
	name  string
	value json.RawMessage
}

// ordered are an object's members in their order.
func ordered(raw []byte) (members []member, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: k.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// plain is a value's JSON without escapes that only HTML needs.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// block is a value's JSON, which is YAML, in YAML's own style.
func block(v any) (*yaml.Node, error) {
	raw, err := plain(v)
	if err != nil {
		return nil, err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(raw, &n); err != nil {
		return nil, err
	}
	unquote(&n)
	return &n, nil
}

func unquote(n *yaml.Node) {
	n.Style = 0
	for _, e := range n.Content {
		unquote(e)
	}
}
