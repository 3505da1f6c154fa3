package config

import (
	"net/netip"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func setAllowedIPs(c *Config, v string) (err error) {
	c.AllowedIPs, err = allowlist.Parse(v)
	return err
}

// setAllowedHosts takes a final dot, which says nothing, away. Addresses need no entry.
func setAllowedHosts(c *Config, v string) error {
	c.AllowedHosts = nil
	if v == "" {
		return nil
	}
	for item := range strings.SplitSeq(v, ",") {
		h := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(item), "."))
		if _, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
			continue
		}
		if !hostName(h) {
			return errWant
		}
		c.AllowedHosts = append(c.AllowedHosts, h)
	}
	return nil
}

func setMetricsIPs(c *Config, v string) error {
	list, err := allowlist.Parse(v)
	c.MetricsIPs = &list
	return err
}

func setTrustProxy(c *Config, v string) error {
	c.TrustedProxies = nil
	switch strings.ToLower(v) {
	case "", "false":
		return nil
	case "true":
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		return nil
	}
	// The same grammar as the allowlist, so the same function judges it: one set of rules for addresses.
	if _, err := allowlist.Parse(v); err != nil {
		return err
	}
	for item := range strings.SplitSeq(v, ",") {
		p, err := parsePrefix(strings.TrimSpace(item))
		if err != nil {
			return errWant
		}
		c.TrustedProxies = append(c.TrustedProxies, p)
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}
