package restic

import (
	"encoding/json"
	"fmt"

	"restic-manager/shared/wire"
)

// EstimateSubcommand is the agent's own program in restic's place: no restic can say what a backup would hold by pattern,
// and none can without the repository.
const EstimateSubcommand = "estimate-child"

// self is this program, also when its file was replaced since.
const self = "/proc/self/exe"

// EstimateSummary is the last line of an estimate.
type EstimateSummary struct {
	MessageType string         `json:"message_type"`
	Estimate    *wire.Estimate `json:"estimate"`
	Seconds     float64        `json:"total_duration"`
}

// BuildEstimate makes the run of an estimate, which needs neither restic nor a repository. denied are the guard's folders.
func BuildEstimate(o Order, denied []string) (Invocation, error) {
	s, ok := o.Spec.(*wire.EstimateSpec)
	if !ok {
		return Invocation{}, coded(wire.CodeInvalidSpec, "spec: it is not one of an estimate")
	}
	if err := s.Validate(); err != nil {
		return Invocation{}, &Error{Code: wire.CodeInvalidSpec, Message: err.Error()}
	}
	order, err := json.Marshal(map[string]any{"spec": s, "denied": denied})
	if err != nil {
		return Invocation{}, err
	}
	i := Invocation{Kind: wire.KindEstimate, Path: self, Env: []string{"LANG=C.UTF-8"}, TimeLimit: o.TimeLimit, Sources: s.Paths}
	name, err := i.file(o, "estimate.json", order)
	if err != nil {
		return Invocation{}, err
	}
	i.Args = []string{EstimateSubcommand, name}
	return i, nil
}

// Program names what is run, for people.
func (i Invocation) Program() string {
	if i.Kind == wire.KindEstimate {
		return "the estimate"
	}
	return "restic"
}

// feedEstimate takes the last line, which goes into the result and not into the log.
func (p *Parser) feedEstimate(line []byte) {
	var m EstimateSummary
	if json.Unmarshal(line, &m) != nil || m.Estimate == nil {
		return
	}
	p.estimate = m.Estimate
	p.summary = &wire.Summary{TotalFilesProcessed: m.Estimate.Files, TotalBytesProcessed: m.Estimate.Bytes, ResticSeconds: seconds(m.Seconds)}
}

// estimateFailure tells why an estimate came to nothing, in its own words where it said any.
func (p *Parser) estimateFailure(e Ending) *wire.JobError {
	if e.Signal != 0 {
		return &wire.JobError{Code: wire.CodeCrashed, Message: fmt.Sprintf("the estimate was ended by a signal this agent did not send (%s); start it again", e.Signal)}
	}
	words := p.line(p.said())
	if words == "" {
		words = fmt.Sprintf("it ended with exit code %d and said nothing", e.ExitCode)
	}
	return &wire.JobError{Code: wire.CodeCrashed, Message: clean("the estimate failed: "+words, maxMessage)}
}
