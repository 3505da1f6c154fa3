package store

import (
	"net/netip"
	"strings"
)

// TLS says how connections to PostgreSQL are protected. A unix socket never is: nothing of it leaves the machine.
type TLS struct {
	// Mode is as libpq's sslmode. "" is the safest that needs no further setting. That is verify-full with a
	// RootCert, and without one require, or prefer for loopback addresses.
	Mode     Mode
	RootCert string // file with the certificates that may have signed the server's; "" = none, "system" = the machine's
	Cert     string // file with this client's certificate; "" = none
	Key      string // file with its key
}

// Mode is how much TLS has to be.
type Mode string

// The modes. Only VerifyCA and VerifyFull keep out who can answer in the server's place; only VerifyFull asks for the
// certificate of that very host.
const (
	Disable    Mode = "disable"
	Allow      Mode = "allow"
	Prefer     Mode = "prefer"
	Require    Mode = "require"
	VerifyCA   Mode = "verify-ca"
	VerifyFull Mode = "verify-full"
)

func (t TLS) modeFor(host string) Mode {
	switch {
	case t.Mode != "":
		return t.Mode
	case t.RootCert != "":
		return VerifyFull
	case loopback(host):
		return Prefer
	default:
		return Require
	}
}

// loopback reports whether nothing that is sent to the host leaves the machine.
func loopback(host string) bool {
	if strings.HasPrefix(host, "/") || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
