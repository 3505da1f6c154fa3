package pgtest

import (
	"os"
	"strings"
)

// Env is what tests read from the environment.
type Env struct {
	// PGConfig is the pg_config of the PostgreSQL to test on: HV_PG_CONFIG, else PG_CONFIG, else "pg_config".
	PGConfig string
	// RequirePostgres turns the skipping of tests that need PostgreSQL into failing: CI or HV_REQUIRE_PG is set.
	RequirePostgres bool
	// OlderPGConfigs are the pg_config of older versions to upgrade from, oldest first: HV_OLDER_PG_CONFIGS, separated
	// by colons. Empty = none.
	OlderPGConfigs []string
	// Dir has the clusters of the tests, and their sockets, so its path must be short: HV_TEST_DIR, else "/tmp". The server's
	// user must be able to enter it.
	Dir string
	// Path is PATH.
	Path string
}

// LoadEnv reads Env. Nothing in it can be wrong.
func LoadEnv() Env {
	e := Env{PGConfig: os.Getenv("HV_PG_CONFIG"), Dir: os.Getenv("HV_TEST_DIR"), Path: os.Getenv("PATH")}
	if e.Dir == "" {
		e.Dir = "/tmp"
	}
	if e.PGConfig == "" {
		e.PGConfig = os.Getenv("PG_CONFIG")
	}
	if e.PGConfig == "" {
		e.PGConfig = "pg_config"
	}
	e.RequirePostgres = os.Getenv("CI") != "" || os.Getenv("HV_REQUIRE_PG") != ""
	if older := os.Getenv("HV_OLDER_PG_CONFIGS"); older != "" {
		e.OlderPGConfigs = strings.Split(older, ":")
	}
	return e
}
