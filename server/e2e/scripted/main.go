// Command scripted-restic stands in for restic 0.18.0 where a test needs hangs, garbage or exact timing. It speaks as
// restic does, keeps a list of snapshots in the repository's folder in place of data, and obeys the script beside it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"restic-manager/server/e2e/scripted/script"
)

// holdPipes is the command of the grandchild.
const holdPipes = "hold-pipes"

func main() {
	if len(os.Args) == 2 && os.Args[1] == holdPipes {
		time.Sleep(10 * time.Minute)
		return
	}
	p, err := newPlay(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripted restic:", err)
		os.Exit(1)
	}
	os.Exit(p.run())
}

// play is one run.
type play struct {
	act     script.Act
	ledger  string
	command string
	args    []string // the positional ones
	flags   map[string][]string
	job     string
	began   time.Time
	out     *bufio.Writer
	stop    chan os.Signal
}

func newPlay(args []string) (*play, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(exe), script.File))
	if err != nil {
		return nil, err
	}
	var s script.Script
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", script.File, err)
	}
	p := &play{ledger: s.Ledger, flags: map[string][]string{}, job: inherited(), began: time.Now(),
		out: bufio.NewWriterSize(os.Stdout, 64<<10), stop: make(chan os.Signal, 1)}
	for _, a := range args {
		if name, value, _ := strings.Cut(a, "="); strings.HasPrefix(name, "--") && name != "--" {
			p.flags[name[2:]] = append(p.flags[name[2:]], value)
		} else if a != "--" {
			p.args = append(p.args, a)
		}
	}
	if len(p.args) == 0 {
		return nil, fmt.Errorf("no command")
	}
	p.command, p.args = p.args[0], p.args[1:]
	if p.command == "cat" || p.command == "list" {
		p.command = strings.Join(p.args, " ")
	}
	p.act = s.Commands[p.command]
	return p, nil
}

var jobFolder = regexp.MustCompile(`/jobs/([0-9a-f-]{36})/`)

// inherited is the id of the job whose lock is open here.
func inherited() string {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil {
			if m := jobFolder.FindStringSubmatch(target); m != nil {
				return m[1]
			}
		}
	}
	return ""
}

func (p *play) note(e script.Event, exit, child int) {
	if p.ledger == "" {
		return
	}
	err := script.Append(p.ledger, script.Entry{Time: time.Now().UTC(), Event: e, PID: os.Getpid(), Command: p.command, Job: p.job, Exit: exit, Child: child})
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripted restic: ledger:", err)
		os.Exit(99)
	}
}

// run plays the act and returns the exit code.
func (p *play) run() int {
	if p.act.Deaf {
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	} else {
		signal.Notify(p.stop, syscall.SIGINT, syscall.SIGTERM)
	}
	p.note(script.Started, 0, 0)
	code := p.play()
	p.out.Flush()
	p.note(script.Ended, code, 0)
	return code
}

func (p *play) play() int {
	if p.act.Grandchild {
		p.leaveGrandchild()
	}
	for _, line := range p.act.Errors {
		fmt.Fprintln(os.Stderr, line)
	}
	p.out.Write(p.act.Raw)
	if p.act.Long > 0 {
		p.long()
	}
	if stopped := p.lines() || p.wait(); stopped {
		return p.interrupted()
	}
	if p.act.Exit != 0 && p.act.Exit != 3 {
		return p.fails(p.act.Exit, p.act.Message)
	}
	return p.work()
}

// leaveGrandchild starts a program that holds both pipes, in restic's group.
func (p *play) leaveGrandchild() {
	cmd := exec.Command("/proc/self/exe", holdPipes)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "scripted restic:", err)
		os.Exit(99)
	}
	p.note(script.Grandchild, 0, cmd.Process.Pid)
}

func (p *play) long() {
	chunk := strings.Repeat("y", 64<<10)
	for left := p.act.Long; left > 0; left -= len(chunk) {
		p.out.WriteString(chunk[:min(left, len(chunk))])
	}
	p.out.WriteByte('\n')
}

// lines writes the numbered lines; true when a signal ended it.
func (p *play) lines() bool {
	began := time.Now()
	for n := 1; n <= p.act.Lines; n++ {
		p.out.Write(script.Line(n, p.act.LineBytes))
		if p.act.Rate <= 0 {
			if n%1000 == 0 && p.stopped(0) {
				return true
			}
			continue
		}
		due := began.Add(time.Duration(float64(n) / p.act.Rate * float64(time.Second)))
		if early := time.Until(due); early > 5*time.Millisecond {
			p.out.Flush()
			if p.stopped(early) {
				return true
			}
		}
	}
	return false
}

// stopped waits so long for a signal.
func (p *play) stopped(d time.Duration) bool {
	select {
	case <-p.stop:
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.stop:
		return true
	case <-timer.C:
		return false
	}
}

// wait lasts as long as the act says; true when a signal ended it.
func (p *play) wait() bool {
	p.out.Flush()
	began, told := time.Now(), time.Duration(-1)
	for {
		elapsed := time.Since(began)
		there := true
		if p.act.Until != "" {
			_, err := os.Stat(p.act.Until)
			there = err == nil
		}
		if !p.act.Hang && there && elapsed.Seconds() >= p.act.Seconds {
			return false
		}
		if second := elapsed.Truncate(time.Second); second != told && !p.act.Hang {
			told = second
			p.status(elapsed)
		}
		if p.stopped(20 * time.Millisecond) {
			return true
		}
	}
}

func (p *play) status(elapsed time.Duration) {
	if p.command != "backup" && p.command != "restore" {
		return
	}
	share := 0.5
	if p.act.Seconds > 0 {
		share = min(elapsed.Seconds()/p.act.Seconds, 1)
	}
	fmt.Fprintf(p.out, `{"message_type":"status","seconds_elapsed":%d,"percent_done":%g,"total_files":%d,"files_done":%d,"total_bytes":%d,"bytes_done":%d}`+"\n",
		int(elapsed.Seconds()), share, p.files(), int(share*float64(p.files())), p.bytes(), int64(share*float64(p.bytes())))
	p.out.Flush()
}

func (p *play) files() int   { return max(p.act.Files, 1) }
func (p *play) bytes() int64 { return max(p.act.Bytes, 1) }

// interrupted is what 0.18.0 says and returns after SIGINT.
func (p *play) interrupted() int {
	p.out.Flush()
	p.note(script.Signaled, 0, 0)
	fmt.Fprintln(os.Stderr, "\x1b[2Ksignal interrupt received, cleaning up")
	if p.command == "backup" {
		return p.fails(1, "unable to save snapshot: context canceled")
	}
	fmt.Fprintln(os.Stderr, "context canceled")
	return 130
}

func (p *play) fails(code int, message string) int {
	if message == "" {
		message = map[int]string{10: "repository does not exist: unable to open config file", 11: "unable to create lock in backend: repository is already locked by PID 1 on vm by root (UID 0, GID 0)",
			12: "wrong password or no key found"}[code]
	}
	fmt.Fprintf(os.Stderr, `{"message_type":"exit_error","code":%d,"message":%s}`+"\n", code, quoted("Fatal: "+message))
	return code
}

// answer writes the last words of a command on stdout.
func (p *play) answer(text string) {
	if p.act.Answer != nil {
		text = *p.act.Answer
	}
	if text == "" {
		return
	}
	p.out.WriteString(text)
	if !p.act.Unended {
		p.out.WriteByte('\n')
	}
}
