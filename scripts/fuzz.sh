#!/usr/bin/env bash
# Runs every fuzz target for the given time each (default 10s); stops at the first finding.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

find_go
cd "$ROOT"
count=0
for package in $("$GO" list ./core/... ./api/... ./extension/...); do
	targets=$("$GO" test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		"$GO" test -run='^$' -fuzz="^$target\$" -fuzztime="${1:-10s}" "$package"
		count=$((count + 1))
	done
done
[ "$count" -gt 0 ] || die "no fuzz target found"
say "$count fuzz targets, no finding"
