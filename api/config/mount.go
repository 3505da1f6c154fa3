package config

import (
	"regexp"
	"slices"
)

// ownPaths are what paths of the API begin with below /v1/, and what clients of Vault know as something else.
var ownPaths = []string{"access", "admin", "audit", "auth", "batch-read", "cubbyhole", "database", "deleted", "events", "grants",
	"identity", "leases", "metadata", "openapi.yaml", "role-templates", "roles", "secrets", "status", "sys", "tokens", "versions"}

var kvMount = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

func setKVMount(c *Config, v string) error {
	if v == "off" {
		v = ""
	} else if !kvMount.MatchString(v) || slices.Contains(ownPaths, v) {
		return errWant
	}
	c.KVMount = v
	return nil
}
