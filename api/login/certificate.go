package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// certificateRole is the settings of a role of a certificate method. Every list that is given must match: one of its
// patterns matches one of the certificate's names.
type certificateRole struct {
	CommonNames  []string `json:"allowed_common_names"`
	DNSNames     []string `json:"allowed_dns_sans"`
	URIs         []string `json:"allowed_uri_sans"`
	Emails       []string `json:"allowed_email_sans"`
	Units        []string `json:"allowed_organizational_units"`
	Fingerprints []string `json:"allowed_fingerprints"` // SHA-256 of the certificate, in hex
}

func parseCertificateRole(config json.RawMessage) (c certificateRole, err error) {
	if err := decode(config, &c); err != nil {
		return c, err
	}
	lists := map[string][]string{
		"allowed_common_names": c.CommonNames, "allowed_dns_sans": c.DNSNames, "allowed_uri_sans": c.URIs,
		"allowed_email_sans": c.Emails, "allowed_organizational_units": c.Units,
	}
	given := len(c.Fingerprints)
	for name, list := range lists {
		if err := checkPatterns(name, list); err != nil {
			return c, err
		}
		given += len(list)
	}
	if given == 0 {
		return c, core.Errorf(core.Invalid, "a role of a certificate method needs a list of allowed names or fingerprints")
	}
	return c, c.normalizeFingerprints()
}

// normalizeFingerprints also takes the spelling with colons that openssl prints.
func (c *certificateRole) normalizeFingerprints() error {
	if len(c.Fingerprints) > maxList {
		return core.Errorf(core.Invalid, "allowed_fingerprints has more than %d elements", maxList)
	}
	for i, f := range c.Fingerprints {
		f = strings.ToLower(strings.ReplaceAll(f, ":", ""))
		if raw, err := hex.DecodeString(f); err != nil || len(raw) != sha256.Size {
			return core.Errorf(core.Invalid, "allowed_fingerprints needs SHA-256 digests of certificates, in hexadecimal")
		}
		c.Fingerprints[i] = f
	}
	return nil
}

// Certificate implements vault.LoginVerifier. The validity is checked again, because a connection may have been open
// since before the certificate expired.
func (v *Verifier) Certificate(_ vault.LoginMethod, r vault.LoginRole, leaf *x509.Certificate) (vault.LoginSubject, error) {
	role, err := parseCertificateRole(r.Config)
	if err != nil {
		return vault.LoginSubject{}, err
	}
	now := v.c.Clock()
	if leaf == nil || now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) || !role.allows(leaf) {
		return vault.LoginSubject{}, &vault.LoginRefusal{Cause: vault.CauseLoginCertificate}
	}
	name := leaf.Subject.CommonName
	if name == "" && len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	return vault.LoginSubject{Name: printable(name), Metadata: map[string]string{
		"role": r.Name, "common_name": printable(leaf.Subject.CommonName), "serial_number": leaf.SerialNumber.Text(16),
	}}, nil
}

func (c certificateRole) allows(leaf *x509.Certificate) bool {
	var uris []string
	for _, u := range leaf.URIs {
		uris = append(uris, u.String())
	}
	return matchesOne(c.CommonNames, []string{leaf.Subject.CommonName}, glob) &&
		matchesOne(lower(c.DNSNames), lower(leaf.DNSNames), glob) &&
		matchesOne(c.URIs, uris, glob) &&
		matchesOne(c.Emails, leaf.EmailAddresses, glob) &&
		matchesOne(c.Units, leaf.Subject.OrganizationalUnit, glob) &&
		matchesOne(c.Fingerprints, []string{fingerprint(leaf)}, sameText)
}

// matchesOne reports whether no pattern is given, or one of them matches one of the names.
func matchesOne(patterns, names []string, match func(pattern, name string) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(names, func(n string) bool {
		return n != "" && slices.ContainsFunc(patterns, func(p string) bool { return match(p, n) })
	})
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}
