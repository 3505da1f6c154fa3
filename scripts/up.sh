#!/usr/bin/env bash
# Starts a private PostgreSQL with the extension, and the API with its key agent, under DEV_DIR. Run it as often as
# you like: what runs already is left alone, what changed is started again, what crashed comes back with its data.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/api.sh
. "$ROOT/scripts/lib/api.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"
# shellcheck source=lib/dev.sh
. "$ROOT/scripts/lib/dev.sh"

choose_ports() {
	local pg_busy='' api_busy=''
	if cluster_running; then pg_busy=$(sed -n 4p "$CLUSTER/pg/postmaster.pid"); fi
	if api_pid >/dev/null; then api_busy=$(sed -n 's/^API_PORT=//p' "$DEV_DIR/ports"); fi
	if [ -n "$pg_busy" ] && [ -n "${PG_PORT:-}" ] && [ "$PG_PORT" != "$pg_busy" ]; then
		cluster_stop
		pg_busy=''
	fi
	PG_PORT=$(dev_port PG_PORT "${PG_PORT:-}" 15432 "$pg_busy")
	API_PORT=$(dev_port API_PORT "${API_PORT:-}" 8200 "$api_busy")
	printf 'PG_PORT=%s\nAPI_PORT=%s\n' "$PG_PORT" "$API_PORT" >"$DEV_DIR/ports"
}

# What the caller told the API about agent and values holds for SQL as well.
server_settings() {
	CLUSTER_SETTINGS=''
	case ${VAULT_PG_DBNAME:-postgres} in *[!A-Za-z0-9_-]*) ;; *) CLUSTER_SETTINGS+="hyperion_vault.database = '${VAULT_PG_DBNAME:-postgres}'"$'\n' ;; esac
	case ${VAULT_AGENT_SOCKET:-} in /*) CLUSTER_SETTINGS+="hyperion_vault.agent_socket = '$VAULT_AGENT_SOCKET'"$'\n' ;; esac
	case ${VAULT_MAX_VALUE_BYTES:-} in [1-9]*) CLUSTER_SETTINGS+="hyperion_vault.max_value_bytes = $VAULT_MAX_VALUE_BYTES"$'\n' ;; esac
}

# The API's settings: what the caller set stays, the rest is of this private server. Exported after PostgreSQL
# has started, which has no business with the keys.
api_settings() {
	export VAULT_API_LISTEN=${VAULT_API_LISTEN:-127.0.0.1:$API_PORT}
	export VAULT_ALLOWED_IPS=${VAULT_ALLOWED_IPS:-127.0.0.1,::1}
	export VAULT_PG_HOSTS=${VAULT_PG_HOSTS:-127.0.0.1}
	export VAULT_PG_PORT=${VAULT_PG_PORT:-$PG_PORT}
	export VAULT_PG_USER=${VAULT_PG_USER:-vault_service}
	export VAULT_PG_PASSWORD=${VAULT_PG_PASSWORD:-$(dev_secret service.password 24)}
	export VAULT_PG_DBNAME=${VAULT_PG_DBNAME:-postgres}
	export VAULT_KMS_MODE=${VAULT_KMS_MODE:-local}
	if [ "$VAULT_KMS_MODE" = local ]; then
		export VAULT_LOCAL_MASTER_KEY=${VAULT_LOCAL_MASTER_KEY:-$(dev_secret master.key 32)}
	fi
	export VAULT_AGENT_SOCKET=${VAULT_AGENT_SOCKET:-$CLUSTER/run/agent.sock}
	export VAULT_AGENT_PEERS=${VAULT_AGENT_PEERS:-$(server_user)}
	export VAULT_AUDIT_DIR=${VAULT_AUDIT_DIR:-$CLUSTER/audit}
	VAULT_ADDR=http://127.0.0.1:${VAULT_API_LISTEN##*:}
}

# The extension and the service role, in the database that the API serves.
prepare_database() {
	cluster_sql postgres <<-'E'
		\getenv database VAULT_PG_DBNAME
		SELECT format('CREATE DATABASE %I', :'database')
		WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
	E
	# The password must not reach the log, not even by a failing statement.
	cluster_sql "$VAULT_PG_DBNAME" <<-'E'
		\getenv role VAULT_PG_USER
		\getenv password VAULT_PG_PASSWORD
		SET log_min_error_statement = panic;
		SET log_statement = 'none';
		SET log_min_duration_statement = -1;
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS hyperion_vault;
		SELECT format('CREATE ROLE %I LOGIN', :'role')
		WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
		SELECT format('ALTER ROLE %I PASSWORD %L', :'role', :'password') \gexec
		SELECT vault.grant_service_role(:'role') \g /dev/null
	E
	warn_if_schema_changed
}

# Before the first release the schema changes without upgrade scripts.
warn_if_schema_changed() {
	local now made
	now=$(sha256sum <"$ROOT/sql/hyperion_vault--$(make -s -C "$ROOT" print-version).sql")
	made=$(cat "$DEV_DIR/schema.sha256" 2>/dev/null || true)
	if [ -z "$made" ]; then
		echo "$now" >"$DEV_DIR/schema.sha256"
	elif [ "$now" != "$made" ]; then
		say "warning: the schema script changed since this private server was made; if something does not work," \
			"\"make purge up\" starts from nothing (and destroys its secrets)" >&2
	fi
}

# admin_token: that of last time while it is still good, else a new one.
admin_token() {
	local token
	token=$(sed -n "s/^export VAULT_ADMIN_TOKEN=//p" "$DEV_DIR/env" 2>/dev/null || true)
	if [ -n "$token" ] && curl -fsS -o /dev/null --max-time 10 -K - "$VAULT_ADDR/v1/secrets" 2>/dev/null \
		<<<"header = \"Authorization: Bearer $token\""; then
		echo "$token"
		return
	fi
	"$ROOT/bin/hyperion-vault-api" token create "dev-$(date -u +%Y%m%dT%H%M%S)-$$" 2>>"$CLUSTER/log/api.log" |
		grep -oE 'hvt_[A-Za-z0-9_-]{43}' ||
		die "hyperion-vault-api token create failed" "its messages are at the end of $CLUSTER/log/api.log"
}

write_env() {
	(
		umask 077
		{
			echo "# Written by make up. Use it with: . ${DEV_DIR/#"$PWD"\//}/env"
			printf 'export %s=%q\n' VAULT_ADDR "$VAULT_ADDR" VAULT_ADMIN_TOKEN "$1" PGHOST "$CLUSTER/run" \
				PGPORT "$PG_PORT" PGUSER postgres PGDATABASE "$VAULT_PG_DBNAME"
		} >"$DEV_DIR/env.new"
		mv -f "$DEV_DIR/env.new" "$DEV_DIR/env"
		# For curl -H @FILE: a token in an argument is everybody's to read.
		printf 'Authorization: Bearer %s\n' "$1" >"$DEV_DIR/admin.header"
	)
}

"$ROOT/scripts/deps.sh"
find_go
build_all
install_extension
install -d -m 711 "$DEV_DIR" || die "$DEV_DIR is not ours to write" "was it made by another user, by sudo make up?"
dev_lock
CLUSTER=$(cluster_dir "$DEV_DIR")
cluster_create
choose_ports
server_settings
cluster_start
api_settings
prepare_database
api_start
api_wait_ready "$VAULT_ADDR"
token=$(admin_token)
write_env "$token"
cat <<E
PostgreSQL  psql -h $CLUSTER/run -p $PG_PORT -U postgres $VAULT_PG_DBNAME
API         $VAULT_ADDR
token       $token
this shell  . ${DEV_DIR/#"$PWD"\//}/env
logs        $CLUSTER/log/
stop        make down
E
