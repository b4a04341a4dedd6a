package spool

import (
	"encoding/json"
	"fmt"
)

func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// fit encodes a result in at most limit bytes: issues go first, the last of them first.
func fit(r Result, limit int64) ([]byte, error) {
	for {
		b, err := marshal(r)
		if err != nil || int64(len(b)) <= limit {
			return b, err
		}
		n := len(r.Finish.Issues)
		if n == 0 {
			return nil, fmt.Errorf("the result takes %d bytes; %d is the limit", len(b), limit)
		}
		keep := min(n-1, int(int64(n)*limit/int64(len(b))))
		r.Finish.IssuesDropped += int64(n - keep)
		r.Finish.Issues = r.Finish.Issues[:keep]
	}
}
