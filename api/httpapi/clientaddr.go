package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds the work on a forwarding header.
const maxHops = 64

// clientAddr returns the address the request came from, or the zero Addr, which is
// allowed nothing, when that cannot be told. X-Forwarded-For counts only when the
// connection comes from a trusted proxy, and then from its right end: each trusted
// proxy vouches for the entry to the left of itself, and for no more.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	peer := ap.Addr().Unmap().WithZone("")
	if !within(peer, trusted) {
		return peer
	}
	headers := r.Header.Values("X-Forwarded-For")
	if len(headers) == 0 {
		return peer
	}
	return rightmostUntrusted(strings.Join(headers, ","), trusted)
}

// rightmostUntrusted returns the last entry that is not a trusted proxy, the first
// entry when all are, and the zero Addr when it meets one it cannot read.
func rightmostUntrusted(list string, trusted []netip.Prefix) netip.Addr {
	for range maxHops {
		i := strings.LastIndexByte(list, ',')
		hop := parseHop(list[i+1:])
		if i < 0 || !hop.IsValid() || !within(hop, trusted) {
			return hop
		}
		list = list[:i]
	}
	return netip.Addr{}
}

// parseHop reads an address, with or without a port, as proxies write it.
func parseHop(s string) netip.Addr {
	s = strings.Trim(s, " \t")
	if a, err := netip.ParseAddr(s); err == nil {
		return plain(a)
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr())
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			if a, err := netip.ParseAddr(inner); err == nil && a.Is6() {
				return plain(a)
			}
		}
	}
	return netip.Addr{}
}

// plain unmaps; an address with a zone says nothing on another host.
func plain(a netip.Addr) netip.Addr {
	if a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
