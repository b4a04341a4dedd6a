package e2e

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// Tests named TestFault… are the rows of the fault table (docs/faults.md): what is killed, lost, doubled or late, how
// often it was tried, and what it did to the promises. They run short among all tests and whole with
// RESTIC_MANAGER_FAULTS=full (make faults), and the table is written to the file that RESTIC_MANAGER_FAULT_TABLE names.

// whole reports whether the fault tests run at their full figures.
func whole() bool { return os.Getenv("RESTIC_MANAGER_FAULTS") == "full" }

// figures chooses the number of runs.
func figures(short, full int) int {
	if whole() {
		return full
	}
	return short
}

// faultRow is one line of the table. Row is the number in the fault table, Variant the database and what else
// differs, Figure what was measured, in words.
type faultRow struct {
	Row              string
	Fault, Variant   string
	Runs, Violations int
	Figure           string
}

var faultTable struct {
	sync.Mutex
	rows []faultRow
}

// fault adds a line to the table.
func fault(t testing.TB, r faultRow) {
	t.Helper()
	t.Logf("row %s: %s, %s: %d runs, %d violations, %s", r.Row, r.Fault, r.Variant, r.Runs, r.Violations, r.Figure)
	if r.Violations > 0 {
		t.Errorf("row %s: %d violations in %d runs", r.Row, r.Violations, r.Runs)
	}
	faultTable.Lock()
	defer faultTable.Unlock()
	faultTable.rows = append(faultTable.rows, r)
}

// writeFaultTable writes the lines gathered, by row.
func writeFaultTable(w io.Writer) {
	faultTable.Lock()
	defer faultTable.Unlock()
	slices.SortStableFunc(faultTable.rows, func(a, b faultRow) int {
		return cmp.Or(cmp.Compare(number(a.Row), number(b.Row)), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Variant, b.Variant))
	})
	fmt.Fprintln(w, "| row | fault | variant | runs | violations | figure |\n| --- | --- | --- | --- | --- | --- |")
	for _, r := range faultTable.rows {
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d | %s |\n", r.Row, r.Fault, r.Variant, r.Runs, r.Violations, r.Figure)
	}
}

func number(row string) int {
	n, _ := strconv.Atoi(row)
	return n
}

func TestMain(m *testing.M) {
	if cert := os.Getenv(bareServer); cert != "" {
		fmt.Fprintln(os.Stderr, serveBare(cert))
		os.Exit(1)
	}
	code := m.Run()
	if path := os.Getenv("RESTIC_MANAGER_FAULT_TABLE"); path != "" && len(faultTable.rows) > 0 {
		f, err := os.Create(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		writeFaultTable(f)
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(code)
}
