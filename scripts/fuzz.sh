#!/usr/bin/env bash
# Runs every fuzz target for the given time each (default 10s); stops at the first finding.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

# fuzz PACKAGE TARGET TIME. Go sometimes calls the end of the time itself a failure ("context deadline exceeded"
# and nothing else); a finding always comes with the input that shows it.
fuzz() {
	local log
	log=$(mktemp)
	if ! "$GO" test -run='^$' -fuzz="^$2\$" -fuzztime="$3" "$1" >"$log" 2>&1; then
		if ! grep -q '^ *context deadline exceeded$' "$log" || grep -qiE 'failing input|panic|fatal error' "$log"; then
			cat "$log" >&2
			rm -f "$log"
			die "$1 $2 has a finding"
		fi
	fi
	grep -E '^fuzz: elapsed' "$log" | tail -n 1 | sed "s|^fuzz: elapsed: |$2 |"
	rm -f "$log"
}

find_go
cd "$ROOT"
count=0
for package in $("$GO" list ./core/... ./api/... ./extension/...); do
	for target in $("$GO" test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		fuzz "$package" "$target" "${1:-10s}"
		count=$((count + 1))
	done
done
[ "$count" -gt 0 ] || die "no fuzz target found"
say "$count fuzz targets, no finding"
