package wire

// ProtocolVersion is what this code speaks; MinProtocolVersion is the oldest a server still serves.
// Fields are added, never re-used; only a breaking change raises the number.
//
// History:
//
//	1  2026-11-23  first version.
const (
	ProtocolVersion    = 1
	MinProtocolVersion = 1
)
