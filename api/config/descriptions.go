package config

// Headings of the settings.
const (
	groupListen   = "Addresses and TLS of the API"
	groupClients  = "Clients of the API"
	groupPostgres = "PostgreSQL"
	groupKeys     = "Master keys"
	groupAgent    = "Key agent and audit"
	groupProcess  = "The process"
)

// groups are the headings in their order.
var groups = []string{groupListen, groupClients, groupPostgres, groupKeys, groupAgent, groupProcess}

// descriptions has one entry for each of the settings.
var descriptions = map[string]description{
	nameListen: {group: groupListen, def: "0.0.0.0:8200", page: "SERVER.md#tls",
		about: "The addresses that the API serves. Without a scheme, an address speaks TLS if there is a certificate."},
	nameAPICert: {group: groupListen, page: "SERVER.md#tls",
		about: "The certificate of the API in PEM, followed by its chain. A renewed file is used without a restart."},
	nameAPIKey: {group: groupListen, page: "SERVER.md#tls", about: "The key of that certificate, in PEM."},
	nameClientCA: {group: groupListen, page: "SERVER.md#tls",
		about: "The authorities whose client certificates are accepted. With this setting a client needs a certificate."},
	nameClientAuth: {group: groupListen, def: "require", page: "SERVER.md#tls",
		about: "With optional, clients without a certificate are served too."},

	nameConsole: {group: groupListen, def: "off", page: "CONSOLE.md",
		about: "The addresses that serve the console, the pages for people. It is served over TLS, or in plain HTTP on loopback alone."},

	"VAULT_ALLOWED_IPS": {group: groupClients, note: "empty, which denies every read",
		about: "The IPv4 and IPv6 addresses and networks that may read, with or without a token."},
	"VAULT_ANONYMOUS_READ": {group: groupClients, def: "on", page: "ACCESS.md",
		about: "With off, reads need a token. With on, the grants of the role vault_anonymous decide about reads without one."},
	"VAULT_TRUST_PROXY": {group: groupClients, def: "false", page: "SERVER.md#hosts-web-pages-and-proxies",
		about: "The proxies whose X-Forwarded-For names the client. Forwarding headers of any other peer are refused."},
	"VAULT_ALLOWED_HOSTS": {group: groupClients, page: "SERVER.md#hosts-web-pages-and-proxies",
		about: "Further names that clients may call this server by. Known in any case are localhost, every IP address, " +
			"VAULT_NODE_NAME and the names in VAULT_API_LISTEN and VAULT_CONSOLE_LISTEN."},
	"VAULT_METRICS_ALLOWED_IPS": {group: groupClients, note: "every address", page: "SERVER.md#metrics",
		about: "The addresses and networks that may see /metrics and /v1/openapi.yaml."},
	"VAULT_KV_MOUNT": {group: groupClients, def: "secret", page: "VAULT_API.md",
		about: "Where clients of Vault and OpenBao find the secrets, below /v1/. With off their protocol is not served."},
	"VAULT_QUOTA_READS": {group: groupClients, def: "0", page: "SERVER.md#quotas",
		about: "The most requests of one token, or of one address without a token, that change nothing."},
	"VAULT_QUOTA_VERIFIES": {group: groupClients, def: "30/m", page: "SERVER.md#quotas",
		about: "The most wrong candidates that one role, or one address without a token, may verify against one secret."},
	"VAULT_QUOTA_CHANGES": {group: groupClients, def: "0", page: "SERVER.md#quotas",
		about: "The most requests of one token, or of one address without a token, that change something."},

	"VAULT_PG_HOSTS": {group: groupPostgres, def: "127.0.0.1", page: "CLUSTER.md",
		about: "The PostgreSQL servers. Reads prefer the first one; changes find the primary among all. " +
			"Connection poolers such as PgBouncer are refused."},
	"VAULT_PG_PORT": {group: groupPostgres, def: "5432", about: "The port of each host that names none."},
	"VAULT_PG_USER": {group: groupPostgres, def: "vault_service", about: "The login role of the API."},
	"VAULT_PG_PASSWORD": {group: groupPostgres,
		about: "The password of that role. Without it the server must accept the role, or ~/.pgpass has the password."},
	"VAULT_PG_DBNAME": {group: groupPostgres, def: "postgres", about: "The one database that this process serves."},
	nameMode: {group: groupPostgres, note: "verify-full with a root certificate, else require, or prefer for loopback addresses",
		about: "TLS to PostgreSQL, as libpq's sslmode. Unix sockets have no TLS."},
	nameRoot: {group: groupPostgres,
		about: "The authorities that may have signed the server's certificate. The modes verify-ca and verify-full need it."},
	nameCert: {group: groupPostgres, about: "The client certificate for PostgreSQL. It is read at the start."},
	nameKey:  {group: groupPostgres, about: "The key of that certificate. No other user may be able to read the file."},
	"VAULT_READ_CONSISTENCY": {group: groupPostgres, def: "local", page: "reference/rest.md#replication",
		about: "Where a read by REST is answered if the request does not say: by this node's database, or by the primary."},
	"VAULT_READ_LEFT_BEHIND": {group: groupPostgres, def: "follow", page: "CLUSTER.md",
		about: "With follow, reads go to another host when a failover has left the first one behind as an old primary. " +
			"With stay they remain there."},
	"VAULT_LSN_WAIT_MS": {group: groupPostgres, def: "1000", page: "reference/rest.md#replication",
		about: "How long a read with Vault-Lsn waits for this node to replay before it goes to the primary."},

	"VAULT_KMS_MODE": {group: groupKeys, def: "aws", page: "KMS.md",
		about: "What wraps data keys: AWS KMS, or a local master key for development."},
	"VAULT_KMS_KEY_ID":       {group: groupKeys, page: "KMS.md", about: "The key of AWS KMS. It is required in the mode aws."},
	"VAULT_LOCAL_MASTER_KEY": {group: groupKeys, page: "KMS.md", about: "The local master key. It is required in the mode local."},
	nameOldMaster: {group: groupKeys, page: "KMS.md#moving-between-local-mode-and-aws-kms",
		about: "A former local master key. It opens what it wrapped and wraps nothing, while data keys are moved to another key."},
	nameOldKey: {group: groupKeys, page: "KMS.md#moving-between-local-mode-and-aws-kms",
		about: "A former key of AWS KMS, used in the same way."},
	nameOldProfile: {group: groupKeys, page: "KMS.md#moving-between-local-mode-and-aws-kms",
		about: "The profile with the credentials for the former key, if they differ."},
	nameOldEndpoint: {group: groupKeys, page: "KMS.md#moving-between-local-mode-and-aws-kms",
		about: "The KMS endpoint of the former key, if it differs."},
	"VAULT_RECOVERY_RECIPIENT": {group: groupKeys, page: "KMS.md#a-recovery-key-off-by-default",
		about: "A public key of age. Every data key is wrapped for it as well, so its owner can recover values without KMS."},

	"VAULT_ROTATION_POLL_SECS": {group: groupProcess, def: "15",
		about: "How often the rotator checks for due rotations that it got no notification of."},
	"VAULT_DEK_CACHE_TTL_SECS": {group: groupKeys, def: "300", page: "KMS.md",
		about: "How long an unwrapped data key is cached in memory. While KMS does not answer it is kept up to twice as long."},
	"VAULT_KMS_MAX_RETRIES": {group: groupKeys, def: "5", page: "KMS.md", about: "How often a failed call of AWS KMS is retried."},
	"VAULT_LOGIN_LOCAL_KEYS": {group: groupClients, def: "off", page: "LOGINS.md",
		about: "With on, login methods may take the keys of an issuer from files and from loopback addresses."},
	"VAULT_AGENT_SOCKET": {group: groupAgent, def: "/run/hyperion-vault/agent.sock",
		about: "The unix socket of the key agent, which PostgreSQL's backends ask for data keys. With off no agent runs."},
	"VAULT_AGENT_PEERS": {group: groupAgent, def: "postgres", about: "The OS users that the key agent serves."},
	"VAULT_AUDIT_DIR": {group: groupAgent, def: "/var/lib/hyperion-vault/audit", page: "AUDIT.md",
		about: "The directory of the audit journal. Each process needs its own."},
	"VAULT_AUDIT_SYNC": {group: groupAgent, def: "interval", page: "AUDIT.md",
		about: "With always, no answer leaves before its record is on disk. With interval, a power loss may cost the " +
			"records of the last 200 ms."},
	"VAULT_AUDIT_MAX_BYTES": {group: groupAgent, def: "1073741824", page: "AUDIT.md",
		about: "How many bytes of records may wait for the primary. Beyond that every operation is refused."},
	"VAULT_MAX_VALUE_BYTES":      {group: groupClients, def: "65536", about: "The longest value that a client may store."},
	"VAULT_NODE_NAME":            {group: groupProcess, note: "the name of the host", about: "The name of this node in audit records."},
	"VAULT_REQUEST_TIMEOUT_SECS": {group: groupProcess, def: "10", about: "The longest time that a read may take."},
	"VAULT_WRITE_TIMEOUT_SECS": {group: groupProcess, note: "three times VAULT_REQUEST_TIMEOUT_SECS",
		about: "The longest time that a change by REST may take. A change waits so long for a new primary."},
	"VAULT_SHUTDOWN_TIMEOUT_SECS": {group: groupProcess, def: "30", about: "How long a stop waits for requests in flight."},
	"VAULT_LOG_LEVEL":             {group: groupProcess, def: "info", about: "The lowest level that is logged."},
}
