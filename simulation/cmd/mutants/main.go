// Command mutants takes each rule out of the production code, runs histories, and prints in how many of them a
// promise breaks. It fails when a rule is missed that histories need.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"restic-manager/simulation/mutant"
)

func main() {
	seeds := flag.Int("seeds", 500, "how many histories for each rule at most")
	enough := flag.Int("enough", 20, "how many that notice are enough")
	only := flag.String("only", "", "only the mutants whose names match")
	write := flag.String("write", "", "a file whose table gets the rows that are printed")
	flag.Parse()
	if err := run(*seeds, *enough, *only, *write); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seeds, enough int, only, write string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	out, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		return fmt.Errorf("find the workspace: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println(head)
	var missed []string
	rows := map[string]string{}
	for _, m := range mutant.All {
		if !pattern.MatchString(m.Name) {
			continue
		}
		n := seeds
		if m.Rare {
			n *= 10
		}
		r, err := try(m, root, dir, n, enough)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			missed = append(missed, m.Name)
			continue
		}
		if m.Stays != "" {
			r.promises = "stays: " + m.Stays
		}
		rows[m.Name] = fmt.Sprintf("| %s | %s | %d of %d | %s | %s |", m.Rule, m.Name, r.noticed, r.ran, r.promises, r.first)
		fmt.Println(rows[m.Name])
		if (r.noticed == 0) != (m.Stays != "") {
			missed = append(missed, m.Name)
		}
	}
	if write != "" {
		if err := keep(write, rows); err != nil {
			return err
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("another outcome than the table of mutants says: %s", strings.Join(missed, ", "))
	}
	return nil
}

const head = "| rule taken out | mutant | noticed in | by | first seed |\n| --- | --- | --- | --- | --- |"

// keep puts rows, by mutant, into a file's table in the order of the mutants; the others stay as they are there.
func keep(path string, rows map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), head+"\n")
	if !found {
		return fmt.Errorf("%s has no table that begins with %s", path, head)
	}
	table, after, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) > 1 && rows[cells[1]] == "" {
			rows[cells[1]] = strings.TrimSpace(line)
		}
	}
	var b strings.Builder
	b.WriteString(before + head + "\n")
	for _, m := range mutant.All {
		if rows[m.Name] != "" {
			b.WriteString(rows[m.Name] + "\n")
		}
	}
	return os.WriteFile(path, []byte(b.String()+"\n"+after), 0o644)
}

type outcome struct {
	noticed, ran    int
	promises, first string
}

var (
	ran    = regexp.MustCompile(`(?m)^(\d+) histories in`)
	broken = regexp.MustCompile(`(?m)^seed (\d+): (\w+):`)
)

// try builds the simulation with the mutant in it and runs it.
func try(m mutant.Mutant, root, dir string, seeds, enough int) (outcome, error) {
	overlay, err := m.Overlay(root, dir)
	if err != nil {
		return outcome{}, err
	}
	binary := filepath.Join(dir, "simulate")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "restic-manager/simulation/cmd/simulate")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		return outcome{}, fmt.Errorf("build mutant %s: %w\n%s", m.Name, err, text)
	}
	text, err := exec.Command(binary, "-seeds", fmt.Sprint(seeds), "-enough", fmt.Sprint(enough)).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		return outcome{}, fmt.Errorf("run mutant %s: %w\n%s", m.Name, err, exit.Stderr)
	}
	return read(string(text)), nil
}

func read(text string) outcome {
	var r outcome
	if found := ran.FindStringSubmatch(text); found != nil {
		fmt.Sscan(found[1], &r.ran)
	}
	seen := map[string]bool{}
	for _, found := range broken.FindAllStringSubmatch(text, -1) {
		if r.noticed++; r.noticed == 1 {
			r.first = found[1]
		}
		if !seen[found[2]] {
			seen[found[2]] = true
			r.promises = strings.TrimPrefix(r.promises+", "+found[2], ", ")
		}
	}
	return r
}
