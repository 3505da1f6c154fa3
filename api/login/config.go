package login

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// MaxConfigLen bounds the settings of a method or a role, in bytes of JSON.
	MaxConfigLen = 32 << 10
	// maxList bounds each list in the settings.
	maxList = 64
	// maxText bounds each text in the settings, other than keys and certificates.
	maxText = 512
)

// CheckMethod implements vault.LoginVerifier.
func (*Verifier) CheckMethod(kind vault.LoginKind, config json.RawMessage) error {
	return CheckMethod(kind, config)
}

// CheckRole implements vault.LoginVerifier.
func (*Verifier) CheckRole(kind vault.LoginKind, method, config json.RawMessage) error {
	return CheckRole(kind, method, config)
}

// CheckMethod returns an Invalid error unless config is what a method of the kind needs.
func CheckMethod(kind vault.LoginKind, config json.RawMessage) error {
	switch kind {
	case vault.LoginJWT:
		_, err := parseJWTMethod(config)
		return err
	case vault.LoginAppRole, vault.LoginCertificate, vault.LoginPassword:
		return decode(config, &struct{}{})
	}
	return errKind()
}

// CheckRole returns an Invalid error unless config is what a role of a method of the kind needs.
func CheckRole(kind vault.LoginKind, method, config json.RawMessage) error {
	switch kind {
	case vault.LoginJWT:
		m, err := parseJWTMethod(method)
		if err != nil {
			return err
		}
		_, err = parseJWTRole(config, m)
		return err
	case vault.LoginAppRole:
		_, err := ParseAppRole(config)
		return err
	case vault.LoginCertificate:
		_, err := parseCertificateRole(config)
		return err
	case vault.LoginPassword:
		return decode(config, &struct{}{})
	}
	return errKind()
}

func errKind() error {
	return core.Errorf(core.Invalid, "a login method is of kind approle, jwt, cert or userpass")
}

// decode reads one JSON object with known members only: a misspelt restriction must not count as none. Empty and
// null are the empty object.
func decode(config json.RawMessage, into any) error {
	if len(config) > MaxConfigLen {
		return core.Errorf(core.TooLarge, "the settings are %d bytes long, the limit is %d", len(config), MaxConfigLen)
	}
	if trimmed := bytes.TrimSpace(config); len(trimmed) == 0 || string(trimmed) == "null" {
		config = json.RawMessage("{}")
	}
	dec := json.NewDecoder(bytes.NewReader(config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return core.Wrap(core.Invalid, err, "the settings are not a JSON object with known members of the right types")
	}
	if _, err := dec.Token(); err != io.EOF {
		return core.Errorf(core.Invalid, "the settings are more than one JSON object")
	}
	return nil
}

// checkTexts bounds a list of texts, none of which may be empty or hold control characters.
func checkTexts(name string, list []string) error {
	if len(list) > maxList {
		return core.Errorf(core.Invalid, "%s has %d elements, the limit is %d", name, len(list), maxList)
	}
	for _, s := range list {
		if err := checkText(name, s); err != nil {
			return err
		}
	}
	return nil
}

func checkText(name, s string) error {
	if s == "" || len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return core.Errorf(core.Invalid, "%s needs texts of 1 to %d bytes without control characters", name, maxText)
	}
	return nil
}

// checkPatterns is checkTexts for globs. One that matches everything would be no restriction.
func checkPatterns(name string, list []string) error {
	for _, p := range list {
		if p != "" && strings.Trim(p, "*") == "" {
			return core.Errorf(core.Invalid, "%s: a pattern of * alone restricts nothing", name)
		}
	}
	return checkTexts(name, list)
}

// inRange returns value, or def when there is none.
func inRange(name string, value *int64, def, low, high int64) (int64, error) {
	if value == nil {
		return def, nil
	}
	if *value < low || *value > high {
		return 0, core.Errorf(core.Invalid, "%s must be between %d and %d", name, low, high)
	}
	return *value, nil
}
