package fleet

import (
	"encoding/json"
	"fmt"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// cleanEstimate makes an estimate fit for storing and showing, whatever the agent sent: patterns are matched with the
// spec's excludes by their places, lists and texts have their bounds, and a pattern to exclude by is one that an order may
// carry. The whole may not be larger than wire.MaxEstimate; it is shortened until it is not.
func cleanEstimate(e *wire.Estimate, spec string) (string, error) {
	var s wire.EstimateSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return "", err
	}
	c := *e
	for _, n := range []*int64{&c.Files, &c.Folders, &c.Others, &c.Bytes} {
		*n = max(*n, 0)
	}
	for _, o := range []*wire.EstimateOut{&c.Excluded, &c.Caches, &c.FileSystems, &c.TooLarge} {
		*o = cleanOut(*o)
	}
	c.Patterns = make([]wire.EstimatePattern, len(s.Excludes))
	for i := range min(len(c.Patterns), len(e.Patterns)) {
		p := e.Patterns[i]
		c.Patterns[i] = wire.EstimatePattern{EstimateOut: cleanOut(p.EstimateOut), Covered: p.Covered, Samples: cleanPaths(p.Samples, wire.MaxEstimateSamples)}
	}
	c.Largest = make([]wire.EstimateFolder, 0, len(e.Largest))
	for _, f := range bounded(e.Largest) {
		c.Largest = append(c.Largest, wire.EstimateFolder{Path: shown(f.Path, maxIssuePath), Files: max(f.Files, 0), Bytes: max(f.Bytes, 0), Exclude: f.Exclude})
		if last := &c.Largest[len(c.Largest)-1]; wire.CheckExclude(last.Exclude) != nil || cleanLine(last.Exclude, maxIssuePath) != last.Exclude {
			last.Exclude = ""
		}
	}
	c.LargestExcluded = make([]wire.EstimateExcluded, 0, len(e.LargestExcluded))
	for _, x := range bounded(e.LargestExcluded) {
		x.Path, x.Files, x.Bytes = shown(x.Path, maxIssuePath), max(x.Files, 0), max(x.Bytes, 0)
		switch {
		case x.By == wire.ExcludedByPattern && x.Pattern != nil && *x.Pattern >= 0 && *x.Pattern < len(s.Excludes):
		case x.By == wire.ExcludedByCache, x.By == wire.ExcludedByFileSystem, x.By == wire.ExcludedBySize:
			x.Pattern = nil
		default:
			continue // for a reason that is none
		}
		c.LargestExcluded = append(c.LargestExcluded, x)
	}
	c.Samples = cleanPaths(e.Samples, wire.MaxEstimateList)
	if err := c.Fit(wire.MaxEstimate); err != nil {
		return "", err
	}
	raw, err := json.Marshal(c)
	return string(raw), err
}

// estimateOf is a job's estimate as it is stored.
func estimateOf(tx *database.Tx, jobID string, e *wire.Estimate) (string, error) {
	var specs []string
	if err := tx.Raw("SELECT spec FROM jobs WHERE id = ?", jobID).Scan(&specs).Error; err != nil || len(specs) == 0 {
		return "", fmt.Errorf("read what job %s was asked: %w", jobID, err)
	}
	return cleanEstimate(e, specs[0])
}

func bounded[T any](list []T) []T { return list[:min(len(list), wire.MaxEstimateList)] }

func cleanOut(o wire.EstimateOut) wire.EstimateOut {
	o.Matches, o.Files, o.Bytes = max(o.Matches, 0), max(o.Files, 0), max(o.Bytes, 0)
	return o
}

func cleanPaths(list []string, limit int) []string {
	out := make([]string, 0, min(len(list), limit))
	for _, p := range list[:min(len(list), limit)] {
		out = append(out, shown(p, maxIssuePath))
	}
	return out
}
