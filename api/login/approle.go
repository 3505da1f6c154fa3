package login

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// AppRole is the settings of a role of an AppRole method: what its secret ids are like.
type AppRole struct {
	SecretIDTTL   time.Duration  // 0 = they do not expire
	SecretIDUses  int64          // how many logins each is good for; 0 = any number
	SecretIDCIDRs []netip.Prefix // client addresses that may use them; none = every address
}

const (
	maxSecretIDTTL  = 10 * 366 * 24 * 60 * 60
	maxSecretIDUses = 1_000_000
)

// ParseAppRole reads the settings of a role. Errors: Invalid, TooLarge.
func ParseAppRole(config json.RawMessage) (AppRole, error) {
	var raw struct {
		TTL   *int64   `json:"secret_id_ttl_secs"`
		Uses  *int64   `json:"secret_id_num_uses"`
		CIDRs []string `json:"secret_id_bound_cidrs"`
	}
	if err := decode(config, &raw); err != nil {
		return AppRole{}, err
	}
	ttl, err := inRange("secret_id_ttl_secs", raw.TTL, 0, 0, maxSecretIDTTL)
	if err != nil {
		return AppRole{}, err
	}
	uses, err := inRange("secret_id_num_uses", raw.Uses, 0, 0, maxSecretIDUses)
	if err != nil {
		return AppRole{}, err
	}
	cidrs, err := ParseCIDRs("secret_id_bound_cidrs", raw.CIDRs)
	if err != nil {
		return AppRole{}, err
	}
	return AppRole{SecretIDTTL: time.Duration(ttl) * time.Second, SecretIDUses: uses, SecretIDCIDRs: cidrs}, nil
}

// ParseCIDRs reads addresses and networks. A network with bits beyond its length is refused: its writer meant another.
func ParseCIDRs(name string, texts []string) ([]netip.Prefix, error) {
	if len(texts) > maxList {
		return nil, core.Errorf(core.Invalid, "%s has %d elements, the limit is %d", name, len(texts), maxList)
	}
	var found []netip.Prefix
	for _, s := range texts {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			found = append(found, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return nil, core.Errorf(core.Invalid, "%s: %s is neither an address nor a network such as 10.0.0.0/8", name, core.Quote(s))
		}
		found = append(found, p)
	}
	return found, nil
}
