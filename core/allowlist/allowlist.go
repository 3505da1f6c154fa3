// Package allowlist decides which client addresses may read secrets.
//
// It fails closed. An empty list allows nothing, and neither does a list with a
// mistake in it. An unknown address and an address with a zone are never allowed.
package allowlist

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// List is a set of IPv4 and IPv6 addresses and networks. The zero List allows no
// address. A List never changes and may be used concurrently.
type List struct {
	prefixes []netip.Prefix
}

// Parse reads a comma-separated list of addresses ("10.0.0.7", "::1") and
// networks ("10.0.0.0/8"). It ignores spaces around entries. The empty text is the
// zero List. It refuses empty entries, zones, host bits outside the mask, IPv4
// written inside IPv6, and everything else that is not an address. The error is
// Invalid, reports every wrong entry at once with its reason, and comes with the
// zero List.
func Parse(s string) (List, error) {
	if strings.TrimSpace(s) == "" {
		return List{}, nil
	}
	var list List
	var problems []string
	for i, entry := range strings.Split(s, ",") {
		p, problem := parseEntry(strings.TrimSpace(entry))
		if problem != "" {
			problems = append(problems, "entry "+strconv.Itoa(i+1)+" "+problem)
			continue
		}
		list.prefixes = append(list.prefixes, p)
	}
	if len(problems) > 0 {
		return List{}, core.Errorf(core.Invalid, "%s", strings.Join(problems, "; "))
	}
	return list, nil
}

// parseEntry returns the network an entry names, or what is wrong with it.
func parseEntry(s string) (p netip.Prefix, problem string) {
	if s == "" {
		return p, "is empty"
	}
	text, _, isNetwork := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return p, core.Quote(s) + " is not an IPv4 or IPv6 address or network"
	case addr.Zone() != "":
		return p, core.Quote(s) + " has a zone, which a list for a whole cluster cannot have"
	case addr.Is4In6():
		return p, core.Quote(s) + " is IPv4 written as IPv6; write it as IPv4"
	case !isNetwork:
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	p, err = netip.ParsePrefix(s)
	if err != nil {
		return p, core.Quote(s) + " has a wrong prefix length"
	}
	if m := p.Masked(); m != p {
		return p, core.Quote(s) + " has bits set outside its mask; the network is " + m.String()
	}
	return p, ""
}

// Allows reports whether addr is in the list. An IPv4 address inside IPv6
// (::ffff:10.0.0.7) counts as its IPv4 address. The zero Addr and addresses with a
// zone are never allowed.
func (l List) Allows(addr netip.Addr) bool {
	// Unmap drops a zone, so the zone is checked before it.
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	for _, p := range l.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Len returns the number of entries. Zero means that no address is allowed.
func (l List) Len() int { return len(l.prefixes) }

// String returns the list in the form that Parse reads. Entries keep their order,
// and single addresses have no prefix length.
func (l List) String() string {
	entries := make([]string, len(l.prefixes))
	for i, p := range l.prefixes {
		entries[i] = p.String()
		if p.IsSingleIP() {
			entries[i] = p.Addr().String()
		}
	}
	return strings.Join(entries, ",")
}
