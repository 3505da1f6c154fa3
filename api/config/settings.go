package config

import (
	"errors"
	"log/slog"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/core"
)

// maxSocketPath is what fits into sockaddr_un with its final zero byte.
const maxSocketPath = 107

const (
	year = 365 * 24 * 60 * 60 // the most seconds of a period
	hour = 60 * 60            // the most seconds of a timeout
)

// errWant says only "not what was wanted": the setting's want text is the whole explanation.
var errWant = errors.New("not what is wanted")

// setting is one variable of the environment.
type setting struct {
	name string
	// want ends the error's sentence: what a valid value looks like.
	want string
	// secret values are never part of a message, and can be read from a file that NAME_FILE names.
	secret bool
	// hidden values are never part of a message either: what they stand for may have been put in their place.
	hidden bool
	// reload marks what may change while the process runs, and can be read from a file for that reason.
	reload bool
	// list values may have a line for each entry in a file. set takes "" as the empty list.
	list bool
	// store marks what a command that only speaks to the database needs.
	store bool
	// set reads value, which is not empty, into c. An error other than errWant adds detail to want; its text may
	// quote the value, so it is used only where the value may be shown.
	set func(c *Config, value string) error
}

// settings is the whole table, in the order problems are reported.
var settings = []setting{
	{name: nameListen, want: "want host:port, as in 0.0.0.0:8200, or several, as in https://0.0.0.0:8200,http://127.0.0.1:8201",
		set: setListen},
	{name: nameAPICert, want: "want the absolute path of a file", set: file(func(c *Config, v string) { c.TLS.Cert = v })},
	{name: nameAPIKey, want: "want the absolute path of a file", hidden: true, // the key itself may have got here
		set: file(func(c *Config, v string) { c.TLS.Key = v })},
	{name: nameClientCA, want: "want the absolute path of a file", set: file(func(c *Config, v string) { c.TLS.ClientCA = v })},
	{name: nameClientAuth, want: "want require or optional", set: setClientAuth},
	{name: nameConsole, want: "want host:port, as in 127.0.0.1:8210 or https://0.0.0.0:8210, or several, or off", set: setConsole},
	{name: "VAULT_ALLOWED_IPS", want: "want comma-separated addresses or CIDR networks", reload: true, list: true,
		set: setAllowedIPs},
	{name: "VAULT_ANONYMOUS_READ", want: "want on or off", reload: true,
		set: func(c *Config, v string) error {
			return choice("off", "on", func(c *Config, on bool) { c.AnonymousRead = on })(c, strings.ToLower(v))
		}},
	{name: "VAULT_TRUST_PROXY", want: "want false, true (loopback proxies) or comma-separated proxy addresses or CIDR networks",
		reload: true, list: true, set: setTrustProxy},
	{name: "VAULT_ALLOWED_HOSTS", want: "want comma-separated host names, without ports", reload: true, list: true,
		set: setAllowedHosts},
	{name: "VAULT_METRICS_ALLOWED_IPS", want: "want comma-separated addresses or CIDR networks", reload: true, list: true,
		set: setMetricsIPs},
	{name: "VAULT_KV_MOUNT", want: "want 1 to 64 of a-z 0-9 . _ - that begin no other path below /v1/, or off", set: setKVMount},
	{name: "VAULT_QUOTA_READS", want: wantRate, reload: true, set: rate(func(c *Config, r quota.Rate) { c.Quota.Reads = r })},
	{name: "VAULT_QUOTA_VERIFIES", want: wantRate, reload: true, set: rate(func(c *Config, r quota.Rate) { c.Quota.Verifies = r })},
	{name: "VAULT_QUOTA_CHANGES", want: wantRate, reload: true, set: rate(func(c *Config, r quota.Rate) { c.Quota.Changes = r })},
	{name: "VAULT_PG_HOSTS", want: "want comma-separated host, host:port, [IPv6]:port or socket directory",
		store: true, set: setHosts},
	{name: "VAULT_PG_PORT", want: "want a port, 1 to 65535", store: true, set: setPort},
	{name: "VAULT_PG_USER", want: "want a role name of at most 63 bytes without control characters", store: true,
		set: identifier(func(c *Config, v string) { c.Postgres.User = v })},
	{name: "VAULT_PG_PASSWORD", want: "want valid UTF-8", secret: true, store: true, set: setPassword},
	{name: "VAULT_PG_DBNAME", want: "want a database name of at most 63 bytes without control characters", store: true,
		set: identifier(func(c *Config, v string) { c.Postgres.Database = v })},
	{name: nameMode, want: "want disable, allow, prefer, require, verify-ca or verify-full", store: true, set: setSSLMode},
	{name: nameRoot, want: "want the absolute path of a file, or system", store: true, set: setRootCert},
	{name: nameCert, want: "want the absolute path of a file", store: true,
		set: file(func(c *Config, v string) { c.Postgres.TLS.Cert = v })},
	{name: nameKey, want: "want the absolute path of a file", hidden: true, store: true, // the key itself may have got here
		set: file(func(c *Config, v string) { c.Postgres.TLS.Key = v })},
	{name: "VAULT_READ_CONSISTENCY", want: "want local or primary",
		set: choice("local", "primary", func(c *Config, primary bool) { c.ReadPrimary = primary })},
	{name: "VAULT_READ_LEFT_BEHIND", want: "want follow or stay",
		set: choice("follow", "stay", func(c *Config, stay bool) { c.ReadStay = stay })},
	{name: "VAULT_LSN_WAIT_MS", want: "want whole milliseconds, 0 to 60000",
		set: number(0, 60_000, func(c *Config, n int) { c.LSNWait = time.Duration(n) * time.Millisecond })},
	{name: "VAULT_KMS_MODE", want: "want aws or local", set: setKMSMode},
	{name: "VAULT_KMS_KEY_ID", want: "want a key id, key ARN, alias/NAME or alias ARN, at most 2048 bytes", set: setKeyID},
	{name: "VAULT_LOCAL_MASTER_KEY", want: "want base64 of exactly 32 bytes (standard alphabet, padded, nothing around it)",
		secret: true, set: setMasterKey},
	{name: nameOldMaster, want: "want base64 of exactly 32 bytes (standard alphabet, padded, nothing around it)",
		secret: true, set: setOldMasterKey},
	{name: nameOldKey, want: "want the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID, as GET /v1/versions/{name} shows it",
		set: setOldKeyID},
	{name: nameOldProfile, want: "want the name of a profile of the AWS SDK's shared files, at most 255 bytes", set: setOldProfile},
	{name: nameOldEndpoint, want: "want https://HOST, or http on a loopback address", set: setOldEndpoint},
	// Not a secret; but its private half is one, and looks alike.
	{name: "VAULT_RECOVERY_RECIPIENT", want: "want an X25519 recipient of age, as age-keygen prints it (age1...)", hidden: true,
		set: setRecoveryRecipient},
	{name: "VAULT_ROTATION_POLL_SECS", want: "want whole seconds, 1 to 31536000",
		set: seconds(1, year, func(c *Config, d time.Duration) { c.RotationPoll = d })},
	{name: "VAULT_DEK_CACHE_TTL_SECS", want: "want whole seconds, 0 disables",
		set: seconds(0, year, func(c *Config, d time.Duration) { c.KMS.CacheTTL = d })},
	{name: "VAULT_KMS_MAX_RETRIES", want: "want a whole number up to 1000, 0 disables",
		set: number(0, 1000, func(c *Config, n int) { c.KMS.MaxRetries = n })},
	{name: "VAULT_LOGIN_LOCAL_KEYS", want: "want on or off",
		set: choice("off", "on", func(c *Config, on bool) { c.LoginLocalKeys = on })},
	{name: "VAULT_AGENT_SOCKET", want: "want an absolute path of at most 107 bytes, or off", set: setAgentSocket},
	{name: "VAULT_AGENT_PEERS", want: "want comma-separated OS users, by name or numeric id", set: setAgentPeers},
	{name: "VAULT_AUDIT_DIR", want: "want an absolute path without control characters", set: setAuditDir},
	{name: "VAULT_AUDIT_SYNC", want: "want interval or always",
		set: choice("interval", "always", func(c *Config, always bool) { c.Audit.SyncAlways = always })},
	{name: "VAULT_AUDIT_MAX_BYTES", want: "want whole bytes, 1048576 to 1099511627776", set: setAuditMaxBytes},
	{name: "VAULT_MAX_VALUE_BYTES", want: "want whole bytes, 1 to 1048576",
		set: number(1, core.MaxValueLen, func(c *Config, n int) { c.MaxValueLen = n })},
	{name: "VAULT_NODE_NAME", want: "want at most 255 bytes without control characters", store: true, set: setNodeName},
	{name: "VAULT_REQUEST_TIMEOUT_SECS", want: "want whole seconds, 1 to 3600", store: true,
		set: seconds(1, hour, func(c *Config, d time.Duration) { c.RequestTimeout = d })},
	{name: "VAULT_WRITE_TIMEOUT_SECS", want: "want whole seconds, VAULT_REQUEST_TIMEOUT_SECS to 3600", store: true,
		set: seconds(1, hour, func(c *Config, d time.Duration) { c.WriteTimeout = d })},
	{name: "VAULT_SHUTDOWN_TIMEOUT_SECS", want: "want whole seconds, 1 to 3600",
		set: seconds(1, hour, func(c *Config, d time.Duration) { c.ShutdownTimeout = d })},
	{name: "VAULT_LOG_LEVEL", want: "want debug, info, warn or error", store: true, reload: true, set: setLogLevel},
}

// clientNames are read by clients of the API; they are known here so that they raise no warning.
var clientNames = []string{"VAULT_ADDR", "VAULT_ADMIN_TOKEN"}

func setAgentSocket(c *Config, v string) error {
	if strings.EqualFold(v, "off") {
		c.Agent.Socket = ""
		return nil
	}
	if !path.IsAbs(v) || strings.HasSuffix(v, "/") || len(v) > maxSocketPath || strings.ContainsFunc(v, notPrintable) {
		return errWant
	}
	c.Agent.Socket = path.Clean(v)
	return nil
}

func setAgentPeers(c *Config, v string) error {
	c.Agent.Peers = nil
	for item := range strings.SplitSeq(v, ",") {
		p := strings.TrimSpace(item)
		if p == "" {
			return errors.New("an entry is empty")
		}
		if len(p) > 255 || strings.ContainsFunc(p, func(r rune) bool { return notPrintable(r) || r == ' ' || r == ':' || r == '/' }) {
			return errWant
		}
		c.Agent.Peers = append(c.Agent.Peers, p)
	}
	return nil
}

func setAuditDir(c *Config, v string) error {
	if !path.IsAbs(v) || strings.ContainsFunc(v, notPrintable) {
		return errWant
	}
	c.Audit.Dir = path.Clean(v)
	return nil
}

func setAuditMaxBytes(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || n < 1<<20 || n > 1<<40 {
		return errWant
	}
	c.Audit.MaxBytes = int64(n)
	return nil
}

func setNodeName(c *Config, v string) error {
	if len(v) > 255 || !utf8.ValidString(v) || strings.ContainsFunc(v, notPrintable) {
		return errWant
	}
	c.NodeName = v
	return nil
}

func setLogLevel(c *Config, v string) error {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	l, ok := levels[strings.ToLower(v)]
	if !ok {
		return errWant
	}
	c.LogLevel = l
	return nil
}

func notPrintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// hostname names the node when nothing else does.
func hostname() string {
	h, err := os.Hostname()
	if err != nil || h == "" {
		return "unknown"
	}
	return h
}
