// Package hostfile reads and writes the small files through which a host's owner rules the agent:
// agent.yaml and guard.yaml. Reading is strict, because a misspelt key must not silently mean its
// default; writing survives a power cut.
package hostfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a file in bytes; nobody writes a longer one by hand.
const MaxSize = 1 << 20

// Decode reads one YAML document into out, a pointer to a struct. An unknown key, a key given twice, a
// value of the wrong form, an alias or a second document is an error that names the line. Errors never quote
// a value, because it may be a secret. An empty document leaves out as it is.
func Decode(data []byte, out any) error {
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return syntaxError(err)
	}
	var second yaml.Node
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return errors.New(`a second YAML document begins here; keep everything in one, without "---" in the middle`)
	}
	if len(root.Content) == 1 && root.Content[0].Tag == "!!null" {
		return nil
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return errors.New(`give "key: value" lines`)
	}
	if err := plain(&root); err != nil {
		return err
	}
	strict := yaml.NewDecoder(bytes.NewReader(data))
	strict.KnownFields(true)
	if err := strict.Decode(out); err != nil {
		var wrong *yaml.TypeError
		if errors.As(err, &wrong) {
			return typeErrors(wrong)
		}
		return syntaxError(err)
	}
	return nil
}

// plain refuses what makes a file mean more than it shows: aliases, merge keys and keys given twice, also
// in parts that decode into maps.
func plain(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fmt.Errorf("line %d: YAML anchors (&) and aliases (*) are not taken; put the value between single quotes", n.Line)
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return fmt.Errorf("line %d: a key is a plain word here", key.Line)
			}
			if first, twice := seen[key.Value]; twice {
				return fmt.Errorf("line %d: the key %.60q was given in line %d already; keep one of the two", key.Line, key.Value, first)
			}
			seen[key.Value] = key.Line
			// An empty value would be taken for a missing key, and so for the default.
			if value := n.Content[i+1]; value.Tag == "!!null" {
				return fmt.Errorf("line %d: the key %.60q has no value; give one or remove the line", key.Line, key.Value)
			}
		}
	}
	for _, c := range n.Content {
		if err := plain(c); err != nil {
			return err
		}
	}
	return nil
}

var (
	lineNumber = regexp.MustCompile(`line (\d+)`)
	unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type `)
)

// syntaxError keeps the line of the YAML library's error and drops its words: they can quote values.
func syntaxError(err error) error {
	const help = "not valid YAML; put values with special characters between single quotes, and use blanks, not tabs"
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("line %s: %s", m[1], help)
	}
	return errors.New(help)
}

func typeErrors(err *yaml.TypeError) error {
	said := make([]string, len(err.Errors))
	for i, e := range err.Errors {
		if m := unknownKey.FindStringSubmatch(e); m != nil {
			said[i] = fmt.Sprintf("line %s: unknown key %.60q", m[1], m[2])
		} else if m := lineNumber.FindStringSubmatch(e); m != nil {
			said[i] = fmt.Sprintf("line %s: the value has the wrong form", m[1])
		} else {
			said[i] = "a value has the wrong form"
		}
	}
	return errors.New(strings.Join(said, "; "))
}
