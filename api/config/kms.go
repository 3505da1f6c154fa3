package config

import (
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
)

// masterKeyLen is the bytes of the local master key.
const masterKeyLen = 32

// The settings of a former master key.
const (
	nameOldMaster   = "VAULT_OLD_LOCAL_MASTER_KEY"
	nameOldKey      = "VAULT_OLD_KMS_KEY_ID"
	nameOldProfile  = "VAULT_OLD_KMS_PROFILE"
	nameOldEndpoint = "VAULT_OLD_KMS_ENDPOINT"
)

func setKMSMode(c *Config, v string) error {
	if v != KMSAWS && v != KMSLocal {
		return errWant
	}
	c.KMS.Mode = v
	return nil
}

func setKeyID(c *Config, v string) error {
	odd := func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(":/_-", r)
	}
	if len(v) > 2048 || strings.ContainsFunc(v, odd) || strings.HasPrefix(v, "arn:") && strings.Count(v, ":") != 5 {
		return errWant
	}
	c.KMS.KeyID = v
	return nil
}

// setRecoveryRecipient checks the form only: what it means is judged where it is used.
func setRecoveryRecipient(c *Config, v string) error {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if len(v) != 62 || !strings.HasPrefix(v, "age1") || strings.ContainsFunc(v, odd) {
		return errWant
	}
	c.KMS.RecoveryRecipient = v
	return nil
}

// parseMasterKey takes one spelling only: the decoder skips line ends and Strict does not refuse them, so the bytes
// are encoded again and compared.
func parseMasterKey(v string) (Secret, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(v)
	if err != nil || len(key) != masterKeyLen || base64.StdEncoding.EncodeToString(key) != v {
		clear(key)
		return nil, errWant
	}
	return key, nil
}

func setMasterKey(c *Config, v string) (err error) {
	c.KMS.MasterKey, err = parseMasterKey(v)
	return err
}

func setOldMasterKey(c *Config, v string) (err error) {
	c.KMS.Old.MasterKey, err = parseMasterKey(v)
	return err
}

// setOldKeyID takes an ARN only: rows name the keys that wrapped them by ARN, and it says the region too.
func setOldKeyID(c *Config, v string) error {
	var d Config
	parts := strings.Split(v, ":")
	if setKeyID(&d, v) != nil || len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || parts[3] == "" || parts[4] == "" {
		return errWant
	}
	if id, ok := strings.CutPrefix(parts[5], "key/"); !ok || id == "" {
		return errWant
	}
	c.KMS.Old.KeyID = v
	return nil
}

func setOldProfile(c *Config, v string) error {
	if len(v) > 255 || strings.ContainsFunc(v, notPrintable) {
		return errWant
	}
	c.KMS.Old.Profile = v
	return nil
}

// setOldEndpoint checks the form only; the keeper refuses what would cross a network in the clear.
func setOldEndpoint(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return errWant
	}
	c.KMS.Old.Endpoint = v
	return nil
}

// checkOld refuses an old master key that is the present one, and settings that belong to no key.
func (l *loader) checkOld() {
	k := &l.cfg.KMS
	switch {
	case len(k.Old.MasterKey) == 0:
	case k.Mode == KMSLocal && subtle.ConstantTimeCompare(k.Old.MasterKey, k.MasterKey) == 1:
		l.fail(nameOldMaster, "%s (value not shown): it is the same key as VAULT_LOCAL_MASTER_KEY; want the one that the stored data keys were wrapped under before", nameOldMaster)
	}
	switch {
	case k.Old.KeyID == "":
	case k.Mode == KMSAWS && k.Old.KeyID == k.KeyID:
		l.fail(nameOldKey, "%s is the same key as VAULT_KMS_KEY_ID; want the one that the stored data keys were wrapped under before", nameOldKey)
	}
	for name, value := range map[string]string{nameOldProfile: k.Old.Profile, nameOldEndpoint: k.Old.Endpoint} {
		if value != "" && k.Old.KeyID == "" && !l.failed(nameOldKey) {
			l.fail(name, "%s is set without %s, which it belongs to", name, nameOldKey)
		}
	}
	l.sortProblems()
}
