package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// readClient tells who asks and over what. Headers of proxies are believed only when a trusted proxy is at the
// other end; anybody else could write them.
func (s *Server) readClient(x *exchange, r *http.Request) {
	x.address = peer(r)
	x.host = r.Host
	x.secure = r.TLS != nil || s.publicHTTPS
	x.ownTLS = r.TLS != nil && !s.trusts(x.address)
	if !s.trusts(x.address) {
		x.direct = r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
		return
	}
	if protos := r.Header.Values("X-Forwarded-Proto"); len(protos) > 0 {
		last := protos[len(protos)-1]
		x.secure = x.secure || strings.EqualFold(strings.TrimSpace(last[strings.LastIndex(last, ",")+1:]), "https")
	}
	// Each proxy appends whom it saw: from the right, the first that is no proxy of ours is the client.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return
		}
		x.address = a.Unmap().WithZone("")
		if !s.trusts(x.address) {
			return
		}
	}
}

func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

func (s *Server) trusts(a netip.Addr) bool {
	for _, p := range s.o.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// network is the key under which an address is counted: an IPv6 customer has a /64 at least.
func network(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
