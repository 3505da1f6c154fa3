package quota

import "net/netip"

// An IPv6 host has the 2^64 addresses of its link to choose from.
const bitsOfClient4, bitsOfClient6 = 32, 64

// NetworkOf returns the network that counts as one client: an IPv4 address, or the link that an IPv6 address is on,
// without a zone. For an invalid address it returns the zero Prefix.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bitsOfClient6
	if a.Is4() {
		bits = bitsOfClient4
	}
	p, _ := a.Prefix(bits)
	return p
}
