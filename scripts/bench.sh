#!/usr/bin/env bash
# Starts a fresh private server and API, measures both (bench, flags from BENCH_FLAGS), prints a table, and
# removes everything again.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
find_go
TMP=$(mktemp -d /tmp/hv-bench.XXXXXX)
chmod 711 "$TMP"
export DEV_DIR=$TMP/dev
unset API_PORT PG_PORT "${!VAULT_@}"
# Requests must not end in a log at the speed that is measured here.
export VAULT_LOG_LEVEL=warn
# What the API sets for itself, so that the floors do not lose by it.
export GOGC=400

finish() {
	local rc=$?
	"$ROOT/scripts/down.sh" --purge >/dev/null || true
	rm -rf "$TMP"
	exit "$rc"
}
trap finish EXIT

quietly "make up" "$ROOT/scripts/up.sh"
# shellcheck disable=SC1091 # written by up.sh
. "$DEV_DIR/env"
(umask 077 && printf '%s' "$VAULT_ADMIN_TOKEN" >"$TMP/token")
cd "$ROOT"
# shellcheck disable=SC2086 # flags are words
"$GO" run ./bench -addr "$VAULT_ADDR" -token-file "$TMP/token" -key-file "$DEV_DIR/master.key" ${BENCH_FLAGS:-}
