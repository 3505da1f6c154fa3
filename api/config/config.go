// Package config turns the environment into one checked Config. It is the only reader of the environment in
// the API process: everything else receives values.
//
// Every mistake is reported at once, so that an operator fixes all of them in one turn, and the process does not start
// with a half-understood setting. Secrets (VAULT_PG_PASSWORD, VAULT_LOCAL_MASTER_KEY, VAULT_OLD_LOCAL_MASTER_KEY) are
// never printed, not even when they are malformed.
package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

// KMS modes.
const (
	// KMSLocal wraps data keys under VAULT_LOCAL_MASTER_KEY, inside this process. For development only.
	KMSLocal = "local"
	// KMSAWS wraps data keys with AWS KMS.
	KMSAWS = "aws"
)

// Config is everything the process was told. The zero Config is not valid; Load returns a checked one.
// It may be copied and read concurrently; copies share the bytes of the secrets, so Wipe wipes them all.
type Config struct {
	// Version is that of this program. It is no setting: the command fills it in.
	Version string
	// Listen are the addresses of the REST API. Never empty.
	Listen []Address
	bare   []bool // for each of them: it was given without a scheme
	TLS    APITLS
	// Console are the addresses of the pages for people; none = they are not served.
	Console     []Address
	bareConsole []bool // as bare
	// AllowedIPs may read secrets. The zero List allows no client.
	AllowedIPs allowlist.List
	// AnonymousRead lets callers without a token read what the role vault_anonymous may.
	AnonymousRead bool
	// TrustedProxies are the peers whose X-Forwarded-For is believed. Empty means none: the peer is the client.
	TrustedProxies []netip.Prefix
	// AllowedHosts are names, in lower case, that a request may be for beside localhost, every address, NodeName and
	// the names in Listen.
	AllowedHosts []string
	// MetricsIPs may see the metrics and the OpenAPI document; nil means everybody.
	MetricsIPs *allowlist.List

	// Quota bounds what one principal may do. At first only wrong candidates of Verify are bounded.
	Quota quota.Limits

	// KVMount is where clients of Vault find the secrets: /v1/KVMount/. "" = their protocol is not served.
	KVMount string

	Postgres Postgres
	KMS      KMS
	Agent    Agent
	Audit    Audit

	// ReadPrimary makes reads query the primary unless a request says otherwise; false means this node.
	ReadPrimary    bool
	LoginLocalKeys bool // keys of issuers may come from this machine: files, and plain HTTP on loopback
	ReadStay       bool // reads stay at the first host when a failover has left it behind
	// LSNWait is how long a read waits for this node to replay what it must see, before it queries the primary. 0 = not at all.
	LSNWait time.Duration
	// RotationPoll is how often due rotations are claimed. At least one second.
	RotationPoll time.Duration
	// MaxValueLen is the most bytes a secret value may have, 1 to core.MaxValueLen.
	MaxValueLen int
	// NodeName names this node in the audit log. Never empty.
	NodeName string
	// RequestTimeout bounds one request of a client or of a PostgreSQL backend. At least one second.
	RequestTimeout time.Duration
	// WriteTimeout bounds one change, which may have to outlast a failover. At least RequestTimeout.
	WriteTimeout time.Duration
	// ShutdownTimeout bounds how long a stop waits for what is in flight. At least one second.
	ShutdownTimeout time.Duration
	// LogLevel is the least level logged. The zero value is info.
	LogLevel slog.Level
}

// Postgres is how the database is reached.
type Postgres struct {
	// Hosts are host, host:port, [IPv6]:port or the absolute directory of a unix socket, in the order they are tried.
	// Never empty.
	Hosts []string
	// Port is for every host without one of its own.
	Port uint16
	// User is the service role.
	User string
	// Password may be empty: then the server must accept the role without one, or ~/.pgpass has it.
	Password Secret
	// Database is the one database this process serves.
	Database string
	TLS      PostgresTLS
}

// KMS says what wraps data keys.
type KMS struct {
	// Mode is KMSAWS or KMSLocal.
	Mode string
	// KeyID names the key of AWS KMS by id, ARN or alias; never empty in aws mode, not used in local mode.
	KeyID string
	// MasterKey is 32 bytes in local mode, else empty. The caller of Load wipes it once a Keeper has it.
	MasterKey Secret
	// CacheTTL is how long a data key that AWS KMS unwrapped may be kept; 0 keeps none.
	CacheTTL time.Duration
	// RecoveryRecipient is the public key that every data key is wrapped for a second time; empty = none is.
	RecoveryRecipient string
	// MaxRetries is how often a failed call of AWS KMS is tried again; 0 disables.
	MaxRetries int
	// Old is what wrapped data keys before; the zero OldKMS is nothing.
	Old OldKMS
}

// OldKMS says which master keys open data keys beside the one of KMS, and wrap none.
type OldKMS struct {
	// MasterKey is 32 bytes or empty. The caller of Load wipes it once a Keeper has it.
	MasterKey Secret
	// KeyID is the ARN of a key of AWS KMS; empty = none.
	KeyID string
	// Profile names the AWS SDK's shared profile whose credentials may use that key; empty = those of the main key.
	Profile string
	// Endpoint is where its KMS is; empty = as the AWS SDK has it.
	Endpoint string
}

// Agent is the unix socket over which PostgreSQL backends get data keys.
type Agent struct {
	// Socket is an absolute path of at most 107 bytes; empty means that no agent runs.
	Socket string
	// Peers are the OS users (names or numeric ids) who may connect. Never empty.
	Peers []string
}

// Audit is the journal in which audit records stand until they have arrived at the primary.
type Audit struct {
	// Dir is the absolute path of its directory, which no other process may use.
	Dir string
	// SyncAlways makes every answer wait for an fsync; else one begins within 200 ms.
	SyncAlways bool
	// MaxBytes is how much may wait for the primary; past it every operation is refused. At least 1 MiB.
	MaxBytes int64
}

// Default returns the settings of an empty environment. Its NodeName is empty and its KMS mode is KMSAWS without a
// key, so it does not pass Load's checks as it is.
func Default() Config {
	return Config{
		Listen: []Address{{HostPort: "0.0.0.0:8200"}}, bare: []bool{true}, AnonymousRead: true, KVMount: "secret",
		Postgres: Postgres{
			Hosts: []string{"127.0.0.1"}, Port: 5432, User: "vault_service", Database: "postgres",
		},
		Quota:           quota.Limits{Verifies: quota.Rate{N: 30, Per: time.Minute}},
		KMS:             KMS{Mode: KMSAWS, CacheTTL: 300 * time.Second, MaxRetries: 5},
		Agent:           Agent{Socket: "/run/hyperion-vault/agent.sock", Peers: []string{"postgres"}},
		LSNWait:         time.Second,
		Audit:           Audit{Dir: "/var/lib/hyperion-vault/audit", MaxBytes: 1 << 30},
		RotationPoll:    15 * time.Second,
		MaxValueLen:     core.DefaultMaxValueLen,
		RequestTimeout:  10 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		LogLevel:        slog.LevelInfo,
	}
}

// Wipe overwrites the secrets of c and of every copy of it.
func (c Config) Wipe() {
	c.Postgres.Password.Wipe()
	c.KMS.MasterKey.Wipe()
	c.KMS.Old.MasterKey.Wipe()
}

// String lists what an operator needs to recognise a setup; secrets appear as REDACTED or as nothing.
func (c Config) String() string {
	return fmt.Sprintf("listen=%v allowed_ips=%d trusted_proxies=%d postgres=%s@%v:%d/%s password=%s kms=%s "+
		"master_key=%s agent=%q peers=%v node=%q", c.Listen, c.AllowedIPs.Len(), len(c.TrustedProxies),
		c.Postgres.User, c.Postgres.Hosts, c.Postgres.Port, c.Postgres.Database, c.Postgres.Password, c.KMS.Mode,
		c.KMS.MasterKey, c.Agent.Socket, c.Agent.Peers, c.NodeName)
}

// Format prints String for every verb, so that %+v and %#v cannot reach the fields one by one.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue is what log/slog prints.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
