// Package script is what a test and the scripted restic say to each other: the script that lies beside the program,
// and the ledger that the program keeps.
package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// File is the script's name, in the folder of the program.
const File = "restic.json"

// Script says what each command does, by its name; "config" is "cat config", "locks" is "list locks". A command
// without an act does at once what restic does.
type Script struct {
	// Ledger is the file that every start and end is written to.
	Ledger   string         `json:"ledger"`
	Commands map[string]Act `json:"commands"`
}

// Act is one run: it writes Errors, Raw, Long, Lines in this order, waits, works and answers, and ends.
type Act struct {
	// Errors are lines of stderr.
	Errors []string `json:"errors,omitempty"`
	// Raw are bytes of stdout, as they are.
	Raw []byte `json:"raw,omitempty"`
	// Long is the length of one line of stdout.
	Long int `json:"long,omitempty"`
	// Lines is how many lines of stdout there are, each as Line has it, LineBytes long; Rate of them a second, 0: as
	// fast as they are read.
	Lines     int     `json:"lines,omitempty"`
	LineBytes int     `json:"line_bytes,omitempty"`
	Rate      float64 `json:"rate,omitempty"`
	// Seconds is how long the run waits, telling its progress each second; Until is a file that it waits for.
	Seconds float64 `json:"seconds,omitempty"`
	Until   string  `json:"until,omitempty"`
	// Hang waits for ever; Deaf ignores SIGINT and SIGTERM; Grandchild leaves a program that holds both pipes.
	Hang       bool `json:"hang,omitempty"`
	Deaf       bool `json:"deaf,omitempty"`
	Grandchild bool `json:"grandchild,omitempty"`
	// Files and Bytes are what a backup says to have read, 1 and 1 unless set.
	Files int   `json:"files,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// Issues are paths that a backup could not read: it ends with 3.
	Issues []string `json:"issues,omitempty"`
	// Answer stands in place of the command's own last words on stdout: no summary, garbage, half a list.
	Answer *string `json:"answer,omitempty"`
	// Exit is the code at the end; with one that means failure nothing is done, and Message is said on stderr.
	Exit    int    `json:"exit,omitempty"`
	Message string `json:"message,omitempty"`
	// Unended leaves out the last newline of stdout.
	Unended bool `json:"unended,omitempty"`
}

// Line is the n-th line of a run, from 1, with its newline; it is at least as long as its number. What fills it does
// not compress well, so that a log takes the room that it seems to take.
func Line(n, size int) []byte {
	b := fmt.Appendf(nil, "line %d ", n)
	if pad := min(size-len(b)-1, len(filling())/2); pad > 0 {
		at := n * pad % (len(filling()) - pad)
		b = append(b, filling()[at:at+pad]...)
	}
	return append(b, '\n')
}

// filling is a megabyte of letters.
var filling = sync.OnceValue(func() []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 1<<20)
	for i := 0; i < len(b); i += 8 {
		for j, v := 0, r.Uint64(); j < 8; j, v = j+1, v>>6 {
			b[i+j] = letters[v%64]
		}
	}
	return b
})

// Write puts the script into the folder of a program, at once.
func (s Script) Write(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, File+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, File))
}

// Event tells what a line of the ledger says.
type Event string

// The events: a run began, ended, was sent a signal that it obeys, and left a grandchild.
const (
	Started    Event = "start"
	Ended      Event = "end"
	Signaled   Event = "signal"
	Grandchild Event = "grandchild"
)

// Entry is one line of the ledger.
type Entry struct {
	Time    time.Time `json:"time"`
	Event   Event     `json:"event"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	// Job is the id of the job whose lock the program inherited; empty for a question that belongs to none.
	Job  string `json:"job,omitempty"`
	Exit int    `json:"exit"`
	// Child is the process id of the grandchild.
	Child int `json:"child,omitempty"`
}

// Append writes one entry, durably.
func Append(path string, e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(b, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// Read returns the ledger; one that is not there yet is empty.
func Read(path string) ([]Entry, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for line := range bytes.Lines(b) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("ledger %s: %w in %q", path, err, line)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
