// Package config is the server's settings: from flags, environment, files that hold one secret, and a YAML
// file, in this order of precedence, each checked before anything starts. docs/configuration.md is its
// reference and is compared with it by a test.
package config

import (
	"fmt"
	"time"
)

// DefaultFile is the YAML file that is read where it exists.
const DefaultFile = "/etc/restic-manager/server.yaml"

// Storage is what every command needs that opens the database. The tags are kong's; "secret" marks values
// that are never printed.
type Storage struct {
	DataDir             string `placeholder:"DIR" help:"Folder of the SQLite database and the encryption key. Default: $STATE_DIRECTORY where systemd sets it, /var/lib/restic-manager for root, $XDG_STATE_HOME/restic-manager otherwise."`
	Database            string `placeholder:"URL" secret:"" help:"postgres:// URL of a PostgreSQL database. Default: SQLite in the data folder. DATABASE_URL is accepted too."`
	DatabaseConnections int    `placeholder:"N" default:"20" help:"Most connections to PostgreSQL; one more listens for other replicas."`
	KeyFile             string `placeholder:"FILE" help:"Encryption key for repository passwords, made at the first start. Default: secret.key in the data folder. All replicas need the same one."`
}

// Settings are all settings of the server.
type Settings struct {
	Storage `embed:""`

	Listen         string    `placeholder:"ADDR" default:":8080" help:"Address and port to serve on."`
	PublicURL      string    `placeholder:"URL" help:"URL under which people and agents reach the server, for example https://backup.example.org."`
	TLSCert        string    `name:"tls-cert" placeholder:"FILE" help:"Certificate chain (PEM) to serve HTTPS with; read again at SIGHUP."`
	TLSKey         string    `name:"tls-key" placeholder:"FILE" help:"Private key (PEM) of the certificate."`
	InsecureHTTP   bool      `name:"insecure-http" help:"Allow sign-in over plain HTTP from other machines. Passwords and sessions can then be read on the way."`
	TrustedProxies []Network `placeholder:"CIDR" help:"Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; separated by commas."`

	MetricsListen string `placeholder:"ADDR" help:"Address and port of a second listener that serves /metrics only, without a token."`
	MetricsToken  string `placeholder:"TOKEN" secret:"" help:"Bearer token that opens /metrics on the main listener. With neither, /metrics is closed."`

	OfflineAfter   Duration `placeholder:"TIME" default:"90s" help:"A host counts as offline after so long without a request."`
	OverdueAfter   Duration `placeholder:"TIME" default:"48h" help:"A host counts as at risk when its last backup that succeeded is older."`
	PollHold       Duration `placeholder:"TIME" default:"0s" help:"Longest time a poll of an agent is held, for proxies that cut idle requests sooner than a minute; 0 leaves it to the agents."`
	LogKeep        Duration `placeholder:"TIME" default:"90d" help:"Logs of ended jobs go after so long."`
	LogBytesPerJob Size     `placeholder:"SIZE" default:"64MiB" help:"What an agent keeps and sends of one job's log; more is counted and dropped."`
	LogHeadBytes   Size     `placeholder:"SIZE" default:"8MiB" help:"What the server keeps of the beginning of a job's log, in whole batches."`
	LogTailBytes   Size     `placeholder:"SIZE" default:"8MiB" help:"What the server keeps of the end of a job's log, in whole batches; what lies between goes."`
	AgentsDir      string   `placeholder:"DIR" help:"Folder of the agents' programs that machines fetch when they are added. Default: agents beside the server's own program where that is there, else /usr/lib/restic-manager/agents."`
	HelpURL        string   `placeholder:"URL" help:"Page that agents too old for this server are pointed to. Default: the public URL."`

	LogLevel  string `placeholder:"LEVEL" default:"info" enum:"debug,info,warn,error" help:"Least level of the server's own log: debug, info, warn or error."`
	LogFormat string `placeholder:"FORMAT" default:"auto" enum:"auto,text,json" help:"Form of the server's own log: text, json, or auto (text on a terminal, else JSON)."`

	// The first administrator; not flags, because command lines are visible to every user of the machine.
	AdminUser     string `kong:"-"`
	AdminPassword string `kong:"-"`
}

// offFlags are the settings that have no flag.
var offFlags = []Setting{
	{Name: "admin-user", Help: "Name of the first administrator, made at start only while there is no operator."},
	{Name: "admin-password", Secret: true, Help: "Password of the first administrator; ignored once there is an operator."},
}

// Error is a setting that is missing or wrong; the server ends with exit code 78 (EX_CONFIG, sysexits.h).
type Error struct{ msg string }

// Error is the message.
func (e *Error) Error() string { return e.msg }

// ExitCode is 78.
func (e *Error) ExitCode() int { return 78 }

// Errorf makes an Error.
func Errorf(format string, args ...any) *Error { return &Error{fmt.Sprintf(format, args...)} }

// Duration is a time span; it is written like Go's, with d for days too: 90d, 36h, 1m30s.
type Duration time.Duration

// Size is a count of bytes; it is written as a number with B, KiB, MiB, GiB or nothing.
type Size int64
