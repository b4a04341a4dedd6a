package madeup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// fate is how a machine's backups stand now. Each machine has one; what else may be wrong with it comes beside it.
type fate int

const (
	protected fate = iota
	failing
	overdue
	issues
	neverBackedUp
	revoked
)

// role is what a kind of machine is like.
type role struct {
	name    string
	weight  int
	os      string
	paths   []string
	bytes   float64 // of a middling one
	files   float64 // per GiB
	growth  float64 // per day, as a part of what there is
	changes float64 // what a day's backup adds, likewise
	person  bool
}

const gib = float64(1 << 30)

var roles = []role{
	{"web", 26, "Debian GNU/Linux 12 (bookworm)", []string{"/etc", "/srv/www", "/var/log"}, 6 * gib, 9000, 0.0008, 0.012, false},
	{"app", 20, "Ubuntu 24.04.2 LTS", []string{"/etc", "/opt/app", "/var/lib/app"}, 14 * gib, 5200, 0.001, 0.02, false},
	{"db", 13, "Debian GNU/Linux 12 (bookworm)", []string{"/etc", "/var/backups/postgresql", "/var/lib/postgresql/dump"}, 180 * gib, 40, 0.002, 0.06, false},
	{"k8s", 9, "Ubuntu 22.04.5 LTS", []string{"/etc/kubernetes", "/var/lib/etcd-snapshots"}, 3 * gib, 700, 0.0005, 0.08, false},
	{"cache", 4, "Alpine Linux v3.21", []string{"/etc", "/var/lib/redis"}, 5 * gib, 60, 0.0002, 0.3, false},
	{"mail", 4, "Debian GNU/Linux 11 (bullseye)", []string{"/etc", "/var/vmail"}, 320 * gib, 26000, 0.0015, 0.004, false},
	{"nas", 5, "Debian GNU/Linux 12 (bookworm)", []string{"/srv/share", "/srv/homes"}, 2600 * gib, 1400, 0.001, 0.002, false},
	{"ci", 4, "Fedora Linux 41 (Server Edition)", []string{"/etc", "/var/lib/ci/artifacts"}, 60 * gib, 3000, 0.0005, 0.05, false},
	{"laptop", 11, "Ubuntu 24.04.2 LTS", []string{"/home"}, 85 * gib, 4200, 0.001, 0.01, true},
	{"desk", 4, "Fedora Linux 41 (Workstation Edition)", []string{"/home", "/etc"}, 120 * gib, 3800, 0.001, 0.008, true},
}

var (
	sites  = []string{"fra", "ber", "muc", "ams", "lon", "nyc", "sgp"}
	zones  = map[string]string{"fra": "Europe/Berlin", "ber": "Europe/Berlin", "muc": "Europe/Berlin", "ams": "Europe/Amsterdam", "lon": "Europe/London", "nyc": "America/New_York", "sgp": "Asia/Singapore"}
	nights = map[string]time.Duration{"fra": 22, "ber": 22, "muc": 22, "ams": 22, "lon": 23, "nyc": 28, "sgp": 16} // hours of UTC
	teams  = []string{"platform", "payments", "search", "data", "it", "media", "shop"}
	people = []string{"anna", "ben", "clara", "david", "elif", "finn", "greta", "hugo", "ines", "jonas", "katja", "luca", "mara", "nils", "olga", "paul", "rosa", "samir", "tara", "yusuf"}
)

// machine is one host, and what its jobs have come to while they are made.
type machine struct {
	index          int
	id, name       string
	hostname       string
	role           *role
	site, env      string
	team           string
	created        time.Time
	agent, restic  string
	guard          wire.GuardReport
	fate           fate
	guardBroken    bool
	cloned         bool
	offline        bool
	neverSeen      bool
	maintained     bool    // its guard allows forget and prune
	skew           float64 // seconds
	listingError   string
	repository     string // restic's id
	location       string
	bytes          float64 // now
	speed          float64 // bytes per second that a backup reads
	night          time.Duration
	trouble        trouble // why its backups fail, when they do
	troubleNights  int     // how many of the last ones
	silentDays     int     // how many of the last days had no backup
	lastSeen       time.Time
	token, tokenID string // enrollment token

	snapshots             []snapshot
	last                  ending
	success               time.Time
	successBytes, sizeNow int64
	memory                int64
	cpus                  int
}

// ending is how a backup ended.
type ending struct {
	job   string
	state wire.State
	at    time.Time
	code  string
}

// AgentToken is the bearer of the host with this id in a fleet made with this seed: whoever has both may speak as its
// agent.
func AgentToken(seed uint64, hostID string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "made up %d %s", seed, hostID))
	return wire.AgentTokenPrefix + hex.EncodeToString(sum[:])
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// dice are the numbers that everything is made of: the same seed gives the same.
type dice struct{ *rand.Rand }

func newDice(seed uint64, purpose uint64) dice { return dice{rand.New(rand.NewPCG(seed, purpose))} }

func (d dice) chance(p float64) bool { return d.Float64() < p }

func pick[T any](d dice, list []T) T { return list[d.IntN(len(list))] }

// around is a number near x, seldom far.
func (d dice) around(x, spread float64) float64 { return x * math.Exp(d.NormFloat64()*spread) }

func (d dice) hex(digits int) string {
	b := make([]byte, digits/2)
	for i := 0; i < len(b); i += 8 {
		n := d.Uint64()
		for k := i; k < min(i+8, len(b)); k++ {
			b[k], n = byte(n), n>>8
		}
	}
	return hex.EncodeToString(b)
}

// uuid is a UUIDv7 (RFC 9562) of that time: ids sort by time, as the server's own do.
func (d dice) uuid(at time.Time) string {
	b := make([]byte, 16)
	ms, sub := uint64(at.UnixMilli()), uint64(at.Nanosecond()%1e6)*4096/1e6
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6], b[7] = 0x70|byte(sub>>8), byte(sub)
	n := d.Uint64()
	for i := 8; i < 16; i++ {
		b[i], n = byte(n), n>>8
	}
	b[8] = 0x80 | b[8]&0x3f
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// machines makes up the hosts; oldest is before their first jobs.
func machines(o Options, oldest time.Time) []*machine {
	d := newDice(o.Seed, 1)
	total := 0
	for _, r := range roles {
		total += r.weight
	}
	numbers := map[string]int{}
	list := make([]*machine, o.Hosts)
	for i := range list {
		m := &machine{index: i, role: &roles[0], site: pick(d, sites), env: "prod", team: pick(d, teams)}
		for n, k := d.IntN(total), 0; n >= 0; k++ {
			m.role, n = &roles[k], n-roles[k].weight
		}
		if n := d.Float64(); n > 0.9 {
			m.env = "dev"
		} else if n > 0.72 {
			m.env = "staging"
		}
		m.create(d, o, oldest, numbers)
		list[i] = m
	}
	deal(d, list, o)
	repositories(d, list)
	for _, m := range list {
		m.guard = m.guardReport()
	}
	return list
}

func (m *machine) create(d dice, o Options, oldest time.Time, numbers map[string]int) {
	stem := m.role.name + "-" + m.site
	if m.role.person {
		stem, m.team, m.env = m.role.name+"-"+pick(d, people), "it", "office"
	}
	numbers[stem]++
	m.name = fmt.Sprintf("%s-%03d", stem, numbers[stem])
	m.hostname = m.name
	if !m.role.person {
		m.hostname += ".example.net"
	}
	// Their ids sort by time, as if they had been enrolled one after another.
	m.created = oldest.Add(-time.Duration(o.Hosts-m.index) * 4 * time.Minute).Truncate(time.Microsecond)
	m.id = d.uuid(m.created)
	m.tokenID, m.token = d.uuid(m.created.Add(-time.Minute)), wire.EnrollmentTokenPrefix+d.hex(64)
	m.agent = weighted(d, "1.4.0", 0.8, "1.3.2", 0.15, "1.2.0")
	m.restic = weighted(d, "0.18.0", 0.62, "0.16.4", 0.24, "0.14.0")
	m.bytes = d.around(m.role.bytes, 0.7)
	m.speed = d.around(160<<20, 0.5)
	m.memory, m.cpus = int64(1<<30)<<d.IntN(8), 1<<d.IntN(6)
	m.maintained = d.chance(0.35)
	m.night = nights[m.site]*time.Hour + time.Duration(d.IntN(5*3600*1000))*time.Millisecond
	m.skew = d.NormFloat64() * 0.3
}

func weighted(d dice, first string, p float64, second string, q float64, rest string) string {
	switch n := d.Float64(); {
	case n < p:
		return first
	case n < p+q:
		return second
	}
	return rest
}

// deal gives each machine its fate. They are dealt and not drawn, so that the shares hold for a small fleet, too.
func deal(d dice, list []*machine, o Options) {
	order := d.Perm(len(list))
	next := 0
	share := func(part float64, do func(m *machine, k int)) {
		for k := range int(math.Round(part * float64(len(list)))) {
			do(list[order[next%len(order)]], k)
			next++
		}
	}
	share(0.02, func(m *machine, k int) {
		m.fate, m.trouble, m.troubleNights = failing, troubles[k%len(troubles)], 1+d.IntN(6)
		switch {
		case k%25 == 3: // one of each in a small fleet, too
			m.trouble, m.restic = troubleOf(wire.CodeResticMissing), ""
		case k%25 == 1:
			m.trouble, m.guardBroken = troubleOf(wire.CodeGuardBroken), true
		case k%50 == 2:
			m.trouble, m.troubleNights, m.cloned = trouble{}, 0, true
		}
	})
	share(0.02, func(m *machine, k int) {
		m.fate, m.silentDays, m.offline = overdue, 3+d.IntN(18), k%2 == 0
	})
	share(0.01, func(m *machine, _ int) { m.fate = issues })
	share(0.015, func(m *machine, k int) {
		m.fate, m.neverSeen, m.trouble = neverBackedUp, k%3 == 0, troubleOf(wire.CodeRepositoryMissing)
	})
	share(0.005, func(m *machine, _ int) { m.fate, m.silentDays = revoked, 5+d.IntN(40) })
	share(0.003, func(m *machine, _ int) { m.skew = pick(d, []float64{-4021.5, -731.2, 612.8, 3600.4, 7199.1}) })
	share(0.003, func(m *machine, _ int) {
		m.listingError = "restic snapshots took longer than 60 s: the list shown is older"
	})
	for _, m := range list {
		m.lastSeen = o.Now.Add(-time.Duration(d.IntN(50000)) * time.Millisecond)
		if m.offline || m.fate == revoked {
			m.lastSeen = o.Now.Add(-time.Duration(m.silentDays)*24*time.Hour + time.Duration(d.IntN(40000))*time.Second)
		}
		m.lastSeen = m.lastSeen.Truncate(time.Microsecond)
	}
}

// repositories gives the web and app machines of one site and team a repository together, all others their own.
func repositories(d dice, list []*machine) {
	shared := map[string]string{}
	members := map[string]int{}
	for _, m := range list {
		where := "s3:https://s3." + m.site + ".example.net/backup/"
		if m.role.name != "web" && m.role.name != "app" {
			m.repository, m.location = d.hex(64), where+m.name
			continue
		}
		key := m.role.name + "-" + m.site + "-" + m.team
		// A dozen at most: an exclusive job of one makes all others of a repository wait.
		if members[key]%12 == 0 {
			shared[key] = d.hex(64)
		}
		m.repository, m.location = shared[key], fmt.Sprintf("rest:https://rest.%s.example.net/%s-%d", m.site, key, members[key]/12)
		members[key]++
	}
}

func (m *machine) guardReport() wire.GuardReport {
	if m.guardBroken {
		return wire.GuardReport{SHA256: hashed(m.name), Summary: "broken: everything is refused", Kinds: []wire.Kind{},
			Broken: "/etc/restic-manager/guard.yaml, line 7: unknown key backups: use backup"}
	}
	kinds := []wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindCheck, wire.KindInit, wire.KindSnapshots, wire.KindUnlock}
	if m.maintained {
		return wire.GuardReport{SHA256: hashed("maintenance"), Summary: "allows backup, restore, check, init, snapshots, unlock, forget, prune",
			Kinds: append(kinds, wire.KindForget, wire.KindPrune)}
	}
	return wire.GuardReport{Summary: "allows backup, restore, check, init, snapshots, unlock (no guard.yaml: the defaults)", Kinds: kinds}
}

// Facts are what the machine's agent tells of it.
func (m *machine) facts() wire.Facts {
	f := wire.Facts{Hostname: m.hostname, OS: "linux", OSVersion: m.role.os, Arch: "amd64", CPUs: m.cpus, MemoryBytes: m.memory,
		AgentVersion: m.agent, ResticVersion: m.restic, TimeZone: zones[m.site], RestoreRoot: "/var/lib/restic-manager/restore"}
	if m.restic != "" {
		f.ResticPath = "/usr/bin/restic"
	}
	if m.index%9 == 4 {
		f.Arch = "arm64"
	}
	return f
}

func (m *machine) labels() map[string]string {
	return map[string]string{"env": m.env, "role": m.role.name, "site": m.site, "team": m.team}
}

func (m *machine) kinds() []wire.Kind {
	var kinds []wire.Kind
	for _, k := range wire.Kinds {
		kinds = append(kinds, k.Kind)
	}
	return kinds
}

func (m *machine) status() string {
	switch {
	case m.fate == revoked:
		return "revoked"
	case m.neverSeen:
		return "never_seen"
	case m.offline:
		return "offline"
	}
	return "online"
}

// text is JSON as the server writes it.
func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs only
	}
	return string(raw)
}

func lower(s string) string { return strings.ToLower(s) }
