package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The ledger is two files of the same lines, so that no single torn or altered file lets an id run again:
// "<id> <why> <unix time> <crc32 of what is before>". A line that is not sound is passed over; both files
// are asked.
var ledgerFiles = []string{"ledger", "ledger-copy"}

func ledgerLine(id, why string, at time.Time) string {
	s := id + " " + why + " " + strconv.FormatInt(at.Unix(), 10) + " "
	return s + fmt.Sprintf("%08x\n", crc32.ChecksumIEEE([]byte(s)))
}

// enterLedger appends the id to both files, durably. Supervisors of several lanes may come at once; each
// append is one write, and a torn line before it is closed first.
func enterLedger(d Disk, state, id, why string, at time.Time) error {
	for _, name := range ledgerFiles {
		if err := appendLedger(d, filepath.Join(state, name), ledgerLine(id, why, at)); err != nil {
			return fmt.Errorf("enter job %s in the ledger: %w", id, err)
		}
	}
	if err := d.SyncDir(state); err != nil {
		return fmt.Errorf("enter job %s in the ledger: %w", id, err)
	}
	return nil
}

func appendLedger(d Disk, path, line string) error {
	f, err := d.Append(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// An empty line in front costs nothing and ends whatever torn line is there, also one that another
	// supervisor is about to leave.
	if _, err := f.Write([]byte("\n" + line)); err != nil {
		return err
	}
	return f.Sync()
}

// inLedger asks both files. An error, but for a missing file, means that it cannot be told.
func inLedger(d Disk, state, id string) (bool, error) {
	var bad error
	for _, name := range ledgerFiles {
		in, err := scanLedger(d, filepath.Join(state, name), id)
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("read the ledger: %w", err))
		}
		if in {
			return true, nil
		}
	}
	return false, bad
}

func scanLedger(d Disk, path, id string) (bool, error) {
	f, err := d.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 32<<10)
	for {
		line, err := r.ReadSlice('\n')
		if bytes.HasPrefix(line, []byte(id)) && soundLedgerLine(string(line), id) {
			return true, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func soundLedgerLine(line, id string) bool {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 || !strings.HasPrefix(line, id+" ") {
		return false
	}
	return strings.TrimSuffix(line[i+1:], "\n") == fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(line[:i+1])))
}
