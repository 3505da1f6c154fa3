#!/usr/bin/env bash
# SQL regression tests (regress/) against a running server that has the extension installed: the one of PGHOST,
# PGPORT and PGUSER, who must be a superuser. Makes the database contrib_regression and, for its key agent, a
# hyperion-vault-api with a key of its own; both are gone again when all tests pass.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/api.sh
. "$ROOT/scripts/lib/api.sh"

DB=contrib_regression
ROLE=vault_regress_service

if [ -z "${PGHOST:-}${PGPORT:-}${PGSERVICE:-}" ]; then
	die "neither PGHOST nor PGPORT is set, and the system's own server is not taken by accident" \
		"for the server of make up: . .dev/env && make installcheck; for another one set PGHOST, PGPORT, PGUSER"
fi

sql() { "$(pg_bin psql)" -XqtA -v ON_ERROR_STOP=1 -d "$1" -f -; }

check_server() {
	[ "$(sql postgres <<<"SELECT current_setting('is_superuser')")" = on ] || die "PGUSER must be a superuser"
	PG_PORT=$(sql postgres <<<"SHOW port")
	SERVER_USER=$(stat -c %U "$(sql postgres <<<"SHOW data_directory")" 2>/dev/null) ||
		die "the server's data directory is not on this machine, or not readable for $(id -un)" \
			"run it on the server's machine as root or as the server's OS user"
	is_root || [ "$SERVER_USER" = "$(id -un)" ] ||
		die "the key agent must run as the server's OS user $SERVER_USER" "run this as root or as $SERVER_USER"
}

prepare_database() {
	HV_PASSWORD=$(random_secret 24)
	export HV_PASSWORD DB ROLE
	sql postgres <<-'E'
		\getenv db DB
		\getenv role ROLE
		\getenv password HV_PASSWORD
		SET client_min_messages = warning;
		SET log_min_error_statement = panic;
		SET log_statement = 'none';
		DROP DATABASE IF EXISTS :"db" WITH (FORCE);
		DROP ROLE IF EXISTS :"role";
		CREATE DATABASE :"db" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
		CREATE ROLE :"role" LOGIN PASSWORD :'password';
	E
	SOCKET=$CLUSTER/run/agent.sock sql "$DB" <<-'E'
		\getenv db DB
		\getenv role ROLE
		\getenv socket SOCKET
		CREATE EXTENSION hyperion_vault;
		SELECT vault.grant_service_role(:'role') \g /dev/null
		ALTER DATABASE :"db" SET hyperion_vault.agent_socket = :'socket';
	E
}

# reachable_host: how the service role gets in; most servers want its password over loopback.
reachable_host() {
	local host
	for host in 127.0.0.1 "${PGHOST:-}"; do
		if [ -n "$host" ] && PGPASSWORD=$HV_PASSWORD "$(pg_bin psql)" -XqtA -h "$host" -p "$PG_PORT" -U "$ROLE" \
			-d "$DB" -c 'SELECT 1' >/dev/null 2>&1; then
			echo "$host"
			return
		fi
	done
	die "role $ROLE cannot log in with its password, neither over loopback nor over ${PGHOST:-PGHOST}" \
		"pg_hba.conf needs a line such as: host all all 127.0.0.1/32 scram-sha-256"
}

start_api() {
	local port host
	host=$(reachable_host)
	port=$(free_port 18200)
	# Only what is set here: the caller's VAULT_* are for another server.
	unset "${!VAULT_@}"
	export VAULT_API_LISTEN=127.0.0.1:$port VAULT_ALLOWED_IPS=127.0.0.1 VAULT_PG_HOSTS=$host VAULT_PG_PORT=$PG_PORT \
		VAULT_PG_USER=$ROLE VAULT_PG_PASSWORD=$HV_PASSWORD VAULT_PG_DBNAME=$DB VAULT_KMS_MODE=local \
		VAULT_AGENT_SOCKET=$CLUSTER/run/agent.sock VAULT_AGENT_PEERS=$SERVER_USER VAULT_AUDIT_DIR=$CLUSTER/audit
	VAULT_LOCAL_MASTER_KEY=$(random_secret 32)
	export VAULT_LOCAL_MASTER_KEY
	api_start
	api_wait_ready "http://127.0.0.1:$port"
}

run_tests() {
	local regress tests=() file
	regress=$("$PG_CONFIG" --pgxs)
	regress=${regress%/makefiles/pgxs.mk}/test/regress/pg_regress
	[ -x "$regress" ] || die "pg_regress is not there: $regress" "install postgresql-server-dev of this version"
	if [ -f "$ROOT/regress/schedule" ]; then
		tests=(--schedule="$ROOT/regress/schedule")
	else
		for file in "$ROOT"/regress/sql/*.sql; do tests+=("$(basename "$file" .sql)"); done
	fi
	# A caller whose PGHOST is unset reaches the default socket; pg_regress would take another default.
	"$regress" --use-existing --dbname="$DB" --bindir="$("$PG_CONFIG" --bindir)" --inputdir="$ROOT/regress" \
		--outputdir="$TMP/output" "${tests[@]}"
}

finish() {
	local rc=$?
	api_stop || true
	if [ "$rc" = 0 ]; then
		sql postgres <<<"DROP DATABASE $DB WITH (FORCE); DROP ROLE $ROLE;" || true
		rm -rf "$TMP"
	else
		cat "$TMP/output/regression.diffs" 2>/dev/null || true
		say "kept for inspection: database $DB, directory $TMP"
	fi
	exit "$rc"
}

PG_PORT='' SERVER_USER=''
check_server
TMP=$(mktemp -d /tmp/hv-installcheck.XXXXXX)
chmod 711 "$TMP"
CLUSTER=$TMP/api
install -d "$TMP/output"
install -d -m 700 -o "$SERVER_USER" "$CLUSTER" "$CLUSTER/run" "$CLUSTER/log"
trap finish EXIT
quietly "make build" make -C "$ROOT" --no-print-directory bin/hyperion-vault-api
prepare_database
start_api
run_tests
