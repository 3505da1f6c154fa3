#!/usr/bin/env bash
# Measures the same operations in a vault of 1,000 secrets and in a large one, in turn, and prints how much longer
# each takes there. SECRETS (1,000,000) and AUDIT (10,000,000 audit records) say how large, RUNS (5) how often,
# BENCH_FLAGS what else. Starts two fresh private servers and removes them again; SCALE_DIR keeps them, filled, for
# the next run.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
find_go
SECRETS=${SECRETS:-1000000} AUDIT=${AUDIT:-10000000} RUNS=${RUNS:-5}
BASE=${SCALE_DIR:-$(mktemp -d /tmp/hv-scale.XXXXXX)}
mkdir -p "$BASE"
chmod 711 "$BASE"
unset API_PORT PG_PORT "${!VAULT_@}"
export VAULT_LOG_LEVEL=warn

finish() {
	local rc=$? size
	for size in small large; do
		if [ -z "${SCALE_DIR:-}" ]; then
			DEV_DIR=$BASE/$size "$ROOT/scripts/down.sh" --purge >/dev/null || true
		else
			DEV_DIR=$BASE/$size "$ROOT/scripts/down.sh" >/dev/null || true
		fi
	done
	[ -n "${SCALE_DIR:-}" ] || rm -rf "$BASE"
	exit "$rc"
}
trap finish EXIT

# in_vault SIZE FLAG...: runs the benchmark on one of the two.
in_vault() {
	local size=$1
	shift
	(
		export DEV_DIR=$BASE/$size
		# shellcheck source=/dev/null # written by up.sh
		. "$DEV_DIR/env"
		(umask 077 && printf '%s' "$VAULT_ADMIN_TOKEN" >"$BASE/$size.token")
		"$BASE/bench" -addr "$VAULT_ADDR" -token-file "$BASE/$size.token" -key-file "$DEV_DIR/master.key" "$@"
	)
}

# fill_once SIZE SECRETS AUDIT: unless it was filled like that before.
fill_once() {
	local mark=$BASE/$1.filled
	if [ "$(cat "$mark" 2>/dev/null)" != "$2 $3" ]; then
		in_vault "$1" -fill-secrets "$2" -fill-audit "$3"
		echo "$2 $3" >"$mark"
	fi
}

cd "$ROOT"
"$GO" build -o "$BASE/bench" ./bench
for size in small large; do
	DEV_DIR=$BASE/$size quietly "make up" "$ROOT/scripts/up.sh"
done
fill_once small 1000 10000
fill_once large "$SECRETS" "$AUDIT"
rm -f "$BASE"/*.json
for ((run = 1; run <= RUNS; run++)); do
	say "run $run of $RUNS" >&2
	# shellcheck disable=SC2086 # flags are words
	for size in small large; do
		filled=1000
		if [ "$size" = large ]; then filled=$SECRETS; fi
		in_vault "$size" -filled "$filled" -save "$BASE/$size.json" -anyway -seconds 3 ${BENCH_FLAGS:-}
	done
done
say "1,000 secrets and 10,000 audit records, and $SECRETS with $AUDIT; medians of $RUNS runs in turn, clients on the same machine."
"$BASE/bench" -compare "$BASE/small.json,$BASE/large.json"
