package estimate

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/restic"
)

// Takes reports whether the arguments (without the program's name) are for Main.
func Takes(args []string) bool { return len(args) > 0 && args[0] == restic.EstimateSubcommand }

// Main is the process below the supervisor. It reads its order from the file that args name and ends by the default action
// of a signal: it changes nothing, so there is nothing to be put in order.
func Main(args []string) int {
	if len(args) != 2 || !Takes(args) {
		fmt.Fprintln(os.Stderr, "this command is for the agent's own use")
		return 2
	}
	if err := lowPriority(); err != nil {
		fmt.Fprintln(os.Stderr, "the estimate runs at the usual priority:", err)
	}
	runtime.GOMAXPROCS(1)
	raw, err := os.ReadFile(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "Fatal: the order cannot be read:", err)
		return 1
	}
	var o Order
	if err := json.Unmarshal(raw, &o); err != nil {
		fmt.Fprintln(os.Stderr, "Fatal: the order cannot be read:", err)
		return 1
	}
	if err := speak(o); err != nil {
		fmt.Fprintln(os.Stderr, "Fatal:", err)
		return 1
	}
	return 0
}

// speak reads the tree and says what it finds, in restic's messages.
func speak(o Order) error {
	began := time.Now()
	out, words := json.NewEncoder(os.Stdout), json.NewEncoder(os.Stderr)
	e, err := Read(o, Watch{
		Progress: func(t Told) {
			_ = out.Encode(statusLine{"status", time.Since(began).Seconds(), t.Files, t.Bytes, t.Errors, []string{shown(t.Folder)}})
		},
		Unreadable: func(p string, err error) {
			_ = words.Encode(errorLine{"error", errorText{Reason(err)}, "archival", shown(p)})
		},
	})
	if err != nil {
		return err
	}
	return out.Encode(restic.EstimateSummary{MessageType: "summary", Estimate: e, Seconds: time.Since(began).Seconds()})
}

type statusLine struct {
	MessageType    string   `json:"message_type"`
	SecondsElapsed float64  `json:"seconds_elapsed"`
	FilesDone      int64    `json:"files_done"`
	BytesDone      int64    `json:"bytes_done"`
	ErrorCount     int64    `json:"error_count"`
	CurrentFiles   []string `json:"current_files"`
}

type errorLine struct {
	MessageType string    `json:"message_type"`
	Error       errorText `json:"error"`
	During      string    `json:"during"`
	Item        string    `json:"item"`
}

type errorText struct {
	Message string `json:"message"`
}

const (
	lowestNice = 19
	// ioprio_set(2): the idle class gets the disk when nobody else wants it.
	ioprioWhoProcess = 1
	ioprioIdle       = 3 << 13
)

// lowPriority takes every thread of this process back. Linux keeps both priorities by thread, and a new thread has those
// of the one that made it; so it looks until it finds none that it has not seen.
func lowPriority() error {
	done := map[int]bool{}
	for found := true; found; {
		found = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[id] {
				continue
			}
			done[id], found = true, true
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, lowestNice); err != nil && err != syscall.ESRCH {
				return err
			}
			// A kernel without it has no such classes.
			_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(id), ioprioIdle)
		}
	}
	return nil
}
