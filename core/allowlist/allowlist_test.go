package allowlist_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

// policy lets a test read as one: allow this, deny that.
type policy struct {
	t    *testing.T
	list allowlist.List
}

func listOf(t *testing.T, s string) policy {
	t.Helper()
	l, err := allowlist.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return policy{t, l}
}

func (p policy) allow(addrs ...string) {
	p.t.Helper()
	for _, a := range addrs {
		if !p.list.Allows(netip.MustParseAddr(a)) {
			p.t.Errorf("%s denies %s", p.list, a)
		}
	}
}

func (p policy) deny(addrs ...string) {
	p.t.Helper()
	for _, a := range addrs {
		if p.list.Allows(netip.MustParseAddr(a)) {
			p.t.Errorf("%s allows %s", p.list, a)
		}
	}
}

var everywhere = []string{
	"10.0.0.7", "127.0.0.1", "0.0.0.0", "255.255.255.255", "192.168.1.1",
	"::", "::1", "2001:db8::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}

func TestEmptyDeniesAll(t *testing.T) {
	policy{t, allowlist.List{}}.deny(everywhere...)
	for _, s := range []string{"", " ", "\t\n"} {
		p := listOf(t, s)
		p.deny(everywhere...)
		if p.list.Len() != 0 || p.list.String() != "" {
			t.Errorf("%q has %d entries: %s", s, p.list.Len(), p.list)
		}
	}
}

func TestSingleAddresses(t *testing.T) {
	p := listOf(t, "10.0.0.7, 2001:db8::7")
	p.allow("10.0.0.7", "2001:db8::7", "::ffff:10.0.0.7")
	p.deny("10.0.0.6", "10.0.0.8", "10.0.1.7", "11.0.0.7", "::1", "2001:db8::6", "2001:db8::8", "2001:db8:1::7", "::ffff:10.0.0.8", "::10.0.0.7", "127.0.0.1")
}

func TestNetworks(t *testing.T) {
	p := listOf(t, "10.1.0.0/16,192.168.4.0/22,172.16.5.4/30,2001:db8:a::/48,fd00::/8")
	p.allow("10.1.0.0", "10.1.0.1", "10.1.255.255", "::ffff:10.1.2.3")
	p.deny("10.0.255.255", "10.2.0.0", "11.1.0.0", "::ffff:10.2.0.0")
	p.allow("192.168.4.0", "192.168.7.255")
	p.deny("192.168.3.255", "192.168.8.0")
	p.allow("172.16.5.4", "172.16.5.7")
	p.deny("172.16.5.3", "172.16.5.8")
	p.allow("2001:db8:a::", "2001:db8:a:ffff:ffff:ffff:ffff:ffff")
	p.deny("2001:db8:9:ffff::", "2001:db8:b::", "2001:db8::a")
	p.allow("fd00::1", "fdff:ffff::")
	p.deny("fc00::1", "fe00::")
}

func TestOneFamilyDoesNotAllowTheOther(t *testing.T) {
	four := listOf(t, "0.0.0.0/0")
	four.allow("0.0.0.0", "10.0.0.7", "255.255.255.255", "::ffff:10.0.0.7")
	four.deny("::", "::1", "2001:db8::1", "::10.0.0.7")
	six := listOf(t, "::/0")
	six.allow("::", "::1", "2001:db8::1", "::10.0.0.7")
	six.deny("10.0.0.7", "0.0.0.0", "::ffff:10.0.0.7")
}

func TestZonesAreDenied(t *testing.T) {
	p := listOf(t, "fe80::/10,::/0,0.0.0.0/0")
	p.allow("fe80::1")
	p.deny("fe80::1%eth0", "::1%lo")
	mapped := netip.MustParseAddr("::ffff:10.0.0.7").WithZone("eth0")
	if mapped.Zone() == "" {
		t.Fatal("no zone to test with")
	}
	if p.list.Allows(mapped) {
		t.Error("an IPv4 address in IPv6 with a zone is allowed")
	}
}

func TestUnknownAddressIsDenied(t *testing.T) {
	if listOf(t, "0.0.0.0/0,::/0").list.Allows(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
}

// goodLists parse and print as the second text.
var goodLists = [][2]string{
	{"10.0.0.7", "10.0.0.7"},
	{"10.0.0.7/32", "10.0.0.7"},
	{"::1/128", "::1"},
	{" 10.0.0.0/8 ,\t::1 ", "10.0.0.0/8,::1"},
	{"2001:DB8:0::/32", "2001:db8::/32"},
	{"0.0.0.0/0,::/0", "0.0.0.0/0,::/0"},
	{"10.0.0.7,10.0.0.7", "10.0.0.7,10.0.0.7"},
}

// badLists are refused; the error says the second text.
var badLists = [][2]string{
	{",", "entry 1 is empty; entry 2 is empty"},
	{"10.0.0.7,", "entry 2 is empty"},
	{",10.0.0.7", "entry 1 is empty"},
	{"10.0.0.300", `entry 1 "10.0.0.300" is not an IPv4 or IPv6 address`},
	{"10.0.0", "is not an IPv4 or IPv6 address"},
	{"010.0.0.1", "is not an IPv4 or IPv6 address"},
	{"10.0.0.1:80", "is not an IPv4 or IPv6 address"},
	{"[::1]", "is not an IPv4 or IPv6 address"},
	{"localhost", `"localhost" is not an IPv4 or IPv6 address`},
	{"*", "is not an IPv4 or IPv6 address"},
	{"10.0.0.7 10.0.0.8", "is not an IPv4 or IPv6 address"},
	{"10.0.0.7;10.0.0.8", "is not an IPv4 or IPv6 address"},
	{"10.0.0.7-10.0.0.9", "is not an IPv4 or IPv6 address"},
	{"/8", "is not an IPv4 or IPv6 address"},
	{"10.0.0.0/33", "wrong prefix length"},
	{"10.0.0.0/-1", "wrong prefix length"},
	{"10.0.0.0/08", "wrong prefix length"},
	{"10.0.0.0/", "wrong prefix length"},
	{"10.0.0.0/8/8", "wrong prefix length"},
	{"10.0.0.0/255.0.0.0", "wrong prefix length"},
	{"10.0.0.0 /8", "is not an IPv4 or IPv6 address"},
	{"::/129", "wrong prefix length"},
	{"10.0.0.7/8", "bits set outside its mask; the network is 10.0.0.0/8"},
	{"0.0.0.1/0", "the network is 0.0.0.0/0"},
	{"2001:db8::1/64", "the network is 2001:db8::/64"},
	{"fe80::1%eth0", "has a zone"},
	{"fe80::%eth0/64", "has a zone"},
	{"::ffff:10.0.0.7", "IPv4 written as IPv6"},
	{"::ffff:10.0.0.0/104", "IPv4 written as IPv6"},
	{"10.0.0.\u0667", "is not an IPv4 or IPv6 address"},
	{"10.0.0.7\x00", "is not an IPv4 or IPv6 address"},
	{strings.Repeat("1", 100000), "is not an IPv4 or IPv6 address"},
}

func TestParse(t *testing.T) {
	for _, g := range goodLists {
		l, err := allowlist.Parse(g[0])
		if err != nil || l.String() != g[1] || l.Len() != strings.Count(g[1], ",")+1 {
			t.Errorf("Parse(%q) = %q, %v; want %q", g[0], l, err, g[1])
		}
	}
	for _, b := range badLists {
		_, err := allowlist.Parse(b[0])
		if core.CodeOf(err) != core.Invalid || !strings.Contains(core.MessageOf(err), b[1]) {
			t.Errorf("Parse(%.50q) = %v, want %q", b[0], err, b[1])
			continue
		}
		if len(err.Error()) > 300 {
			t.Errorf("error is %d bytes long", len(err.Error()))
		}
		// What is good in a list with a mistake does not count.
		l, err := allowlist.Parse("10.0.0.7," + b[0] + ",::/0")
		if err == nil || l.Len() != 0 {
			t.Errorf("a list with %.50q has %d entries, %v", b[0], l.Len(), err)
		}
		policy{t, l}.deny("10.0.0.7", "::1")
	}
}

func TestParseReportsEveryMistake(t *testing.T) {
	_, err := allowlist.Parse("10.0.0.7,bad,10.0.0.0/99,::1,10.1.1.1/8,,fe80::1%a")
	want := `entry 2 "bad" is not an IPv4 or IPv6 address or network; ` +
		`entry 3 "10.0.0.0/99" has a wrong prefix length; ` +
		`entry 5 "10.1.1.1/8" has bits set outside its mask; the network is 10.0.0.0/8; ` +
		`entry 6 is empty; ` +
		`entry 7 "fe80::1%a" has a zone, which a list for a whole cluster cannot have`
	if core.MessageOf(err) != want {
		t.Errorf("error is\n%s\nwant\n%s", core.MessageOf(err), want)
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range goodLists {
		f.Add(g[0], "10.0.0.7")
	}
	for _, b := range badLists {
		f.Add(b[0], "::1")
	}
	f.Add("fe80::/10", "fe80::1%eth0")
	if len(goodLists) < 5 || len(badLists) < 10 {
		f.Fatalf("%d and %d seeds", len(goodLists), len(badLists))
	}
	f.Fuzz(func(t *testing.T, s, client string) {
		l, err := allowlist.Parse(s)
		addr, addrErr := netip.ParseAddr(client)
		if err != nil {
			if core.CodeOf(err) != core.Invalid || l.Len() != 0 || l.Allows(addr) {
				t.Errorf("%q: %d entries beside %v", s, l.Len(), err)
			}
			return
		}
		again, err := allowlist.Parse(l.String())
		if err != nil || again.String() != l.String() || again.Len() != l.Len() {
			t.Errorf("%q prints as %q, which is %q: %v", s, l, again, err)
		}
		if l.Allows(addr) != again.Allows(addr) || l.Allows(addr) && (addrErr != nil || l.Len() == 0 || addr.Zone() != "") {
			t.Errorf("%q allows %q", s, client)
		}
	})
}
