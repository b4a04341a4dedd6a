package supervise

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test's binary is also the agent's (supervisor, child) and a scripted restic.
func TestMain(m *testing.M) {
	switch {
	case Takes(os.Args[1:]):
		os.Exit(Main(os.Args[1:]))
	case len(os.Args) > 1 && os.Args[1] == "fake-restic":
		os.Exit(fakeRestic(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const fakeSummary = `{"message_type":"summary","files_new":1,"total_files_processed":1,"snapshot_id":"` +
	`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`

// fakeRestic does what its arguments say, in their order.
func fakeRestic(steps []string) int {
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	for _, step := range steps {
		word, arg, _ := strings.Cut(step, ":")
		n, _ := strconv.Atoi(arg)
		switch word {
		case "--json":
		case "out":
			fmt.Fprintln(out, arg)
		case "err":
			fmt.Fprintln(os.Stderr, arg)
		case "raw":
			out.WriteString(arg)
		case "poison":
			out.WriteString("nul \x00 here\nbad \xff\xfe utf-8\ncr\r\n\x1b[31mred\x1b[0m\n")
		case "summary":
			fmt.Fprintln(out, fakeSummary)
		case "status":
			fmt.Fprintf(out, `{"message_type":"status","seconds_elapsed":%d,"percent_done":0.5,"total_files":%d,"files_done":%d}`+"\n", n, n, n)
		case "long":
			chunk := strings.Repeat("x", 1<<16)
			for left := n; left > 0; left -= len(chunk) {
				out.WriteString(chunk[:min(left, len(chunk))])
			}
			out.WriteString("\n")
		case "lines":
			for i := range n {
				fmt.Fprintf(out, "line %d of many, with some more words to make it as long as restic's own lines are\n", i)
			}
		case "exit":
			out.Flush()
			return n
		case "crash":
			out.Flush()
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "deaf":
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		case "polite": // ends at SIGINT as restic does, with arg as its code
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGINT)
			fmt.Fprintln(out, "polite")
			out.Flush()
			<-c
			fmt.Fprintln(os.Stderr, "signal interrupt received, cleaning up")
			return n
		case "grandchild": // holds both pipes after us
			cmd := exec.Command("/bin/sleep", "600")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			fmt.Fprintln(out, "grandchild", cmd.Process.Pid)
		case "read": // its input to the end, as a backup of it does
			n, err := io.Copy(io.Discard, os.Stdin)
			fmt.Fprintln(out, "read", n, err)
		case "priority": // as the kernel knows it, of this process and of one that it starts
			line, err := exec.Command("/bin/sh", "-c", `for p in $PPID $$; do awk '{print "nice", $19}' /proc/$p/stat; ionice -p $p; done`).CombinedOutput()
			if err != nil {
				panic(err)
			}
			fmt.Fprint(out, string(line))
		case "wait": // for a file to be there
			for {
				if _, err := os.Stat(arg); err == nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		case "hang":
			out.Flush()
			for {
				time.Sleep(time.Hour)
			}
		default:
			panic("fake restic: " + step)
		}
		out.Flush()
	}
	return 0
}
