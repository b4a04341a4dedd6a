package guard

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"restic-manager/agent/hook"
	"restic-manager/shared/wire"
)

// hookRules say which scripts of this host the server may name. Without the file, or the key, none.
type hookRules struct {
	Dir   string   `yaml:"dir"`
	Allow []string `yaml:"allow"`
}

func (p *policy) readHooks(f *file) error {
	if f.Hooks.Dir != "" {
		if err := checkFolder(f.Hooks.Dir); err != nil {
			return fmt.Errorf("hooks.dir: %w", err)
		}
		p.hooks.Dir = f.Hooks.Dir
	}
	if len(f.Hooks.Allow) > wire.MaxHostHooks {
		return fmt.Errorf("hooks.allow: at most %d", wire.MaxHostHooks)
	}
	for _, name := range f.Hooks.Allow {
		if err := wire.CheckHookName(name); err != nil {
			return fmt.Errorf("hooks.allow: %w", err)
		}
	}
	p.hooks.Allow = f.Hooks.Allow
	if len(p.hooks.Allow) == 0 {
		return nil
	}
	return p.checkHooksFolder()
}

// checkHooksFolder: what the server can have written on this host must never come to be a hook.
func (p *policy) checkHooksFolder() error {
	for _, root := range withResolved([]string{p.restoreRoot}) {
		if root != "" && (inside(p.hooks.Dir, root) || inside(root, p.hooks.Dir)) {
			return fmt.Errorf("hooks.dir: %s and the folder of restores %s lie in one another: a restore could bring a hook; keep them apart", p.hooks.Dir, root)
		}
	}
	return nil
}

// allowedHooks allows a hook that is named in guard.yaml and is a file that nobody else can change.
func (p *policy) allowedHooks(spec wire.Spec, _ Facts) *Refusal {
	b, ok := spec.(*wire.BackupSpec)
	if !ok {
		return nil
	}
	for _, name := range b.Hooks() {
		if !slices.Contains(p.hooks.Allow, name) {
			return refuse("hooks.allow", "the hook %.80q is not allowed here; put the script into %s and name it under hooks.allow in guard.yaml", name, p.hooks.Dir)
		}
		if _, err := hook.Path(p.hooks.Dir, name, p.uid); err != nil {
			return refuse("hooks.dir", "the hook %s is not run: %v", name, err)
		}
	}
	return nil
}

// Hooks are the names of the hooks that the server may name: allowed, and fit to be run. They are sorted.
func (g *Guard) Hooks() []string {
	p, _, broken := g.current()
	if broken != nil {
		return nil
	}
	var names []string
	for _, name := range p.hooks.Allow {
		if _, err := hook.Path(p.hooks.Dir, name, p.uid); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var errNoHooks = errors.New("the guard is broken: no hook is run")

// HooksDir is the folder of the host's hooks. A broken guard has none.
func (g *Guard) HooksDir() (string, error) {
	p, _, broken := g.current()
	if broken != nil {
		return "", errNoHooks
	}
	return p.hooks.Dir, nil
}

// MayRun asks for one hook alone, when it is about to run: nil when it may.
func (g *Guard) MayRun(name string) error {
	p, _, broken := g.current()
	if broken != nil {
		return errNoHooks
	}
	if r := p.allowedHooks(&wire.BackupSpec{HooksAfter: []string{name}}, Facts{}); r != nil {
		return errors.New(r.Message)
	}
	return nil
}

// hookSummary is for people at the host, too: it says why an allowed hook is not offered.
func (p *policy) hookSummary() string {
	var offered, not []string
	for _, name := range p.hooks.Allow {
		if _, err := hook.Path(p.hooks.Dir, name, p.uid); err != nil {
			not = append(not, fmt.Sprintf("%s (%v)", name, err))
		} else {
			offered = append(offered, name)
		}
	}
	s := ""
	if len(offered) > 0 {
		s += "; the hooks " + list(offered)
	}
	if len(not) > 0 {
		s += "; not the hooks " + strings.Join(not, ", ")
	}
	return s
}
