// Command bench measures what restic-manager costs, each figure beside a baseline of the same run, and prints one
// table. It is called by make bench, which sets up PostgreSQL, restic and the programs.
//
// The measuring is done by Go benchmarks that lie beside the code. Each of them measures ours and the baseline in
// turn and reports a ratio; bench repeats them, goes through all lines before it comes to the first again, and
// shows medians: absolute figures wander with the machine, ratios do not.
//
// It fails when a benchmark fails. A goal that is missed is shown, and is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 5, "how often each benchmark is run; the table shows medians")
	only := flag.String("only", "", "lines to measure, for example 1,2,10; empty: all")
	write := flag.String("write", "", "file that takes the table as Markdown; empty: none")
	verbose := flag.Bool("v", false, "show each benchmark's own output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, *n, *only, *write, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, n int, only, write string, verbose bool) error {
	if n < 1 {
		return fmt.Errorf("-n %d: give at least 1", n)
	}
	lines, err := linesOf(only)
	if err != nil {
		return err
	}
	for _, name := range []string{"RESTIC_MANAGER_TEST_POSTGRES", "RESTIC_MANAGER_TEST_TOOLS", "RESTIC_MANAGER_TEST_BIN"} {
		if os.Getenv(name) == "" {
			return fmt.Errorf("%s is not set: run make bench", name)
		}
	}
	head := facts()
	fmt.Println(head)
	dir, err := os.MkdirTemp("", "restic-manager-bench.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	chosen := chosenSuites(lines)
	for _, s := range chosen {
		if err := s.build(ctx, dir); err != nil {
			return err
		}
	}
	all := results{}
	var failed []string // each with its reason; the others are measured all the same
	begin := time.Now()
	for round := range n {
		for _, s := range chosen {
			if s.most > 0 && round >= s.most {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s  round %d of %d: %s\n", time.Since(begin).Round(time.Second), round+1, n, s.bench)
			out, err := s.run(ctx, dir, n)
			if verbose || err != nil {
				os.Stderr.Write(out)
			}
			switch found := all.add(out); {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				failed = append(failed, fmt.Sprintf("%s: %v", s.bench, err))
			case !found:
				failed = append(failed, s.bench+" printed no result")
			}
		}
	}
	table, missing := tabulate(all, lines)
	fmt.Print(table)
	if write != "" {
		for _, f := range failed {
			table += "failed: " + f + "\n"
		}
		if err := record(write, head, n, table); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "; "))
	}
	if len(missing) > 0 {
		return fmt.Errorf("nothing was measured for %s", strings.Join(missing, ", "))
	}
	return nil
}

// linesOf reads the choice; none is all.
func linesOf(only string) ([]int, error) {
	var known, chosen []int
	for _, r := range rules {
		if !slices.Contains(known, r.line) {
			known = append(known, r.line)
		}
	}
	for word := range strings.FieldsFuncSeq(only, func(r rune) bool { return r == ',' || r == ' ' }) {
		line, err := strconv.Atoi(word)
		if err != nil || !slices.Contains(known, line) {
			return nil, fmt.Errorf("-only %s: there are the lines %s", only, strings.Trim(fmt.Sprint(known), "[]"))
		}
		chosen = append(chosen, line)
	}
	if len(chosen) == 0 {
		return known, nil
	}
	return chosen, nil
}

// binary is the package's compiled tests.
func (s suite) binary(dir string) string {
	return filepath.Join(dir, strings.ReplaceAll(s.dir, "/", "-")+".test")
}

// build compiles the package's tests, once for all its suites.
func (s suite) build(ctx context.Context, dir string) error {
	if _, err := os.Stat(s.binary(dir)); err == nil {
		return nil
	}
	c := exec.CommandContext(ctx, "go", "test", "-c", "-o", s.binary(dir), "./"+s.dir)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("compile the benchmarks of %s: %w", s.dir, err)
	}
	return nil
}

// run runs the benchmark once, in its package's folder, as go test does. A benchmark that repeats by itself is
// told how often.
func (s suite) run(ctx context.Context, dir string, n int) ([]byte, error) {
	c := exec.CommandContext(ctx, s.binary(dir), "-test.run=^$", "-test.bench="+s.bench, "-test.benchtime=1x", "-test.timeout=2h")
	c.Dir = s.dir
	c.Env = append(os.Environ(), "RESTIC_MANAGER_BENCH_PAIRS="+strconv.Itoa(n))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	return c.CombinedOutput()
}

// record writes what was measured, for people who read the tree.
func record(name, head string, n int, table string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("# Results of make bench\n\nWritten by it; docs/benchmarks.md tells what the lines are. Medians of %d.\n\n```\n%s\n\n%s```\n", n, head, table)
	return os.WriteFile(name, []byte(text), 0o644)
}
