package wire

import "encoding/json"

// FeatureEstimate in HelloRequest.Features says that the agent can do KindEstimate. A host without it gets no such job.
const FeatureEstimate = "estimate"

// EstimateSpec asks what a backup with these settings would hold, read from the host's tree: no file's content and no
// repository is read. The fields are those of BackupSpec.
type EstimateSpec struct {
	Paths             []string `json:"paths"`
	Excludes          []string `json:"excludes,omitempty"`
	ExcludeCaches     bool     `json:"exclude_caches,omitempty"`
	OneFileSystem     bool     `json:"one_file_system,omitempty"`
	ExcludeLargerThan int64    `json:"exclude_larger_than,omitempty"` // bytes, 0: none
}

// Kind is KindEstimate.
func (*EstimateSpec) Kind() Kind { return KindEstimate }

// Backup is the backup that is asked about.
func (s *EstimateSpec) Backup() *BackupSpec {
	return &BackupSpec{Paths: s.Paths, Excludes: s.Excludes, ExcludeCaches: s.ExcludeCaches, OneFileSystem: s.OneFileSystem,
		ExcludeLargerThan: s.ExcludeLargerThan}
}

// Validate checks what a backup's does.
func (s *EstimateSpec) Validate() error { return s.Backup().Validate() }

// MaxEstimate bounds an estimate as JSON, in bytes.
const MaxEstimate = 192 << 10

// MaxEstimateList bounds each of an estimate's lists but Patterns, which has one entry for each of the spec's.
const MaxEstimateList = 50

// MaxEstimateSamples bounds the samples of one pattern.
const MaxEstimateSamples = 3

// Estimate is what a backup would hold, and what it would leave out. Sizes are those that the files have, in bytes, each
// name of a file with several counted; what the host's guard denies is in none of it.
type Estimate struct {
	Files   int64 `json:"files"`
	Folders int64 `json:"folders"`
	Others  int64 `json:"others"` // links, pipes and devices
	Bytes   int64 `json:"bytes"`
	// Excluded is what is left out for any reason, each thing once.
	Excluded EstimateOut `json:"excluded"`
	// Patterns are by their places in the spec's excludes. What several patterns match is counted for each of them.
	Patterns    []EstimatePattern `json:"patterns"`
	Caches      EstimateOut       `json:"caches"`
	FileSystems EstimateOut       `json:"file_systems"` // mounted within the paths; they are not looked into
	TooLarge    EstimateOut       `json:"too_large"`
	// Largest are the folders with the most bytes that are in, those of the folders below included; the largest first.
	Largest []EstimateFolder `json:"largest"`
	// LargestExcluded are the largest things that are out; what lies in a folder that is out is part of it.
	LargestExcluded []EstimateExcluded `json:"largest_excluded"`
	// Samples are some of the files that are in, taken evenly.
	Samples []string `json:"samples"`
	// Shortened says that entries of the lists were left away, so that the whole has its bound.
	Shortened bool `json:"shortened,omitempty"`
}

// EstimateOut counts what is left out: Matches are the things, Files and Bytes what they hold.
type EstimateOut struct {
	Matches int64 `json:"matches"`
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	// Partial says that not all of it could be looked into: it holds more.
	Partial bool `json:"partial,omitempty"`
}

// EstimatePattern is what one pattern takes out.
type EstimatePattern struct {
	EstimateOut
	// Covered says that it matches only what lies in folders that others take out already. Without it and without
	// matches it matches nothing.
	Covered bool     `json:"covered,omitempty"`
	Samples []string `json:"samples,omitempty"`
}

// EstimateFolder is a folder that is in. Exclude is the pattern that takes out just this; empty: none can.
type EstimateFolder struct {
	Path    string `json:"path"`
	Files   int64  `json:"files"`
	Bytes   int64  `json:"bytes"`
	Exclude string `json:"exclude,omitempty"`
}

// ExcludedBy is why something is left out.
type ExcludedBy string

// The reasons.
const (
	ExcludedByPattern    ExcludedBy = "pattern"
	ExcludedByCache      ExcludedBy = "cache"
	ExcludedByFileSystem ExcludedBy = "file_system"
	ExcludedBySize       ExcludedBy = "size"
)

// EstimateExcluded is a file or folder that is out. Pattern is the place in the spec's excludes of the one that decided.
type EstimateExcluded struct {
	Path    string     `json:"path"`
	Files   int64      `json:"files"`
	Bytes   int64      `json:"bytes"`
	By      ExcludedBy `json:"by"`
	Pattern *int       `json:"pattern,omitempty"`
	Partial bool       `json:"partial,omitempty"`
}

// Fit shortens the lists, samples first, until the estimate has its bound as JSON.
func (e *Estimate) Fit(limit int) error {
	for {
		b, err := json.Marshal(e)
		if err != nil || len(b) <= limit {
			return err
		}
		e.Shortened = true
		longest := 0
		for i := range e.Patterns {
			longest = max(longest, len(e.Patterns[i].Samples))
		}
		switch {
		case longest > 0:
			for i := range e.Patterns {
				e.Patterns[i].Samples = e.Patterns[i].Samples[:min(len(e.Patterns[i].Samples), longest-1)]
			}
		case len(e.Samples) > 0:
			e.Samples = e.Samples[:len(e.Samples)/2]
		case len(e.Largest)+len(e.LargestExcluded) > 0:
			e.Largest, e.LargestExcluded = e.Largest[:len(e.Largest)*2/3], e.LargestExcluded[:len(e.LargestExcluded)*2/3]
		default:
			return nil // counts alone, at most 1,000 of them
		}
	}
}
