package config

import (
	"os"
	"strings"
)

// Tests is what the test harness reads from the environment; the product does not.
type Tests struct {
	// PGConfig is the pg_config of the PostgreSQL to test on: HV_PG_CONFIG, else PG_CONFIG, else "pg_config".
	PGConfig string
	// RequirePostgres turns the skipping of tests that need PostgreSQL into failing: CI or HV_REQUIRE_PG is set.
	RequirePostgres bool
	// OlderPGConfigs are the pg_config of older versions to upgrade from, oldest first: HV_OLDER_PG_CONFIGS, separated
	// by colons. Empty = none.
	OlderPGConfigs []string
	// Path is PATH.
	Path string
}

// LoadTests reads Tests. Nothing in it can be wrong.
func LoadTests() Tests {
	t := Tests{PGConfig: os.Getenv("HV_PG_CONFIG"), Path: os.Getenv("PATH")}
	if t.PGConfig == "" {
		t.PGConfig = os.Getenv("PG_CONFIG")
	}
	if t.PGConfig == "" {
		t.PGConfig = "pg_config"
	}
	t.RequirePostgres = os.Getenv("CI") != "" || os.Getenv("HV_REQUIRE_PG") != ""
	if older := os.Getenv("HV_OLDER_PG_CONFIGS"); older != "" {
		t.OlderPGConfigs = strings.Split(older, ":")
	}
	return t
}
