package wire

import "fmt"

// Problem is an error on the wire: RFC 9457 with a stable code. Detail says what to do.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
	// RequestID finds the request in the server's log.
	RequestID string `json:"request_id,omitempty"`

	// Extensions of single codes.
	MinProtocolVersion int    `json:"min_protocol_version,omitempty"`
	HelpURL            string `json:"help_url,omitempty"`
	BootNumber         int64  `json:"boot_number,omitempty"`
	NextLine           int64  `json:"next_line,omitempty"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("%s (%d %s)", p.Title, p.Status, p.Code)
	}
	return fmt.Sprintf("%s (%d %s)", p.Detail, p.Status, p.Code)
}

// ProblemContentType is the media type of a Problem (RFC 9457, section 3).
const ProblemContentType = "application/problem+json"

// Codes of problems that agents act on.
const (
	ProblemEnrollmentTokenInvalid = "enrollment_token_invalid" // 401
	ProblemUnauthorized           = "unauthorized"             // 401: the bearer is unknown, or the host is revoked
	ProblemProtocolTooOld         = "protocol_too_old"         // 426
	ProblemBootSuperseded         = "boot_superseded"          // 409
	ProblemHelloRequired          = "hello_required"           // 409
	ProblemJobGone                = "job_gone"                 // 409
	ProblemRepositoryBusy         = "repository_busy"          // 423
	ProblemHostBusy               = "host_busy"                // 423
	ProblemLeaseLost              = "lease_lost"               // 410
	ProblemLogGap                 = "log_gap"                  // 409, with next_line
	ProblemLogConflict            = "log_conflict"             // 409
	ProblemLogFull                = "log_full"                 // 409
	ProblemNotStarted             = "not_started"              // 409
	ProblemListingSuperseded      = "listing_superseded"       // 409
	ProblemInvalid                = "invalid"                  // 400, 422
	ProblemTooLarge               = "too_large"                // 413
	ProblemRateLimited            = "rate_limited"             // 429, with Retry-After
	ProblemUnavailable            = "unavailable"              // 503, with Retry-After
)
