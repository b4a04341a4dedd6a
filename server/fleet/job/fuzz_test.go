package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"testing"

	"restic-manager/shared/wire"
)

// FuzzLogAppendModel sends batches of one file in any order, doubled, cut anew, too early and from another file,
// as three bytes each say, and holds the log to the model: it is always the beginning of one file.
func FuzzLogAppendModel(f *testing.F) {
	f.Add([]byte{0, 3, 0, 3, 2, 0, 0, 5, 0})
	f.Add([]byte{0, 3, 0, 0, 3, 0, 1, 4, 0, 9, 1, 0})
	f.Add([]byte{0, 3, 0, 3, 2, 1, 3, 2, 2, 3, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		const lines = 20
		var file, other [][]byte
		for i := range lines {
			file, other = append(file, fmt.Appendf(nil, "line %d\n", i)), append(other, fmt.Appendf(nil, "LINE %d\n", i))
		}
		sumOver := func(l [][]byte) hash.Hash {
			h := sha256.New()
			h.Write(bytes.Join(l, nil))
			return h
		}
		log := Log{NextLine: 1}
		var stored [][]byte
		for ; len(script) >= 3; script = script[3:] {
			from := int(script[0]) % lines
			to := min(lines, from+int(script[1])%lines)
			// The other file's lines are told by the sum of those before, once there are any.
			batch, before := file[from:to], file[:from]
			if script[2]%4 == 1 {
				batch, before = other[from:to], other[:from]
			}
			q := wire.LogQuery{FirstLine: int64(from + 1), Lines: int64(len(batch)), SumBefore: hex.EncodeToString(sumOver(before).Sum(nil))}
			stores, err := log.Admit(q, func() (hash.Hash, error) { return sumOver(stored), nil })
			have := len(stored)
			foreign := from == have && !bytes.Equal(bytes.Join(before, nil), bytes.Join(stored, nil))
			if want := from == have && len(batch) > 0 && !foreign; stores != want {
				t.Fatalf("%d lines from %d on into a log of %d, foreign %t: got stored %t, %v, want %t", len(batch), from, have, foreign, stores, err, want)
			}
			if refused := from > have || from == have && len(batch) > 0 && foreign; (err != nil) != refused {
				t.Fatalf("%d lines from %d on into a log of %d, foreign %t: got %v, want refused %t", len(batch), from, have, foreign, err, refused)
			}
			if stores {
				stored = append(stored, batch...)
				log.NextLine += int64(len(batch))
			}
			if got := log.NextLine; got != int64(len(stored)+1) {
				t.Fatalf("cursor: got %d with %d lines", got, len(stored))
			}
		}
		settled, err := log.Settle(lines, hex.EncodeToString(sumOver(file).Sum(nil)), func() (hash.Hash, error) { return sumOver(stored), nil })
		if same := bytes.Equal(bytes.Join(stored, nil), bytes.Join(file, nil)); err != nil || settled.Complete != same {
			t.Errorf("%d of %d lines: got complete %t, %v, want %t", len(stored), lines, settled.Complete, err, same)
		}
	})
}
