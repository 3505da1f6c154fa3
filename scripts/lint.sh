#!/usr/bin/env bash
# Everything that judges the source without running it. "quick" leaves out the tools that take minutes.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

failed=0
# check NAME COMMAND...
check() {
	local name=$1 out rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	case $rc in
	0) say "ok    $name" ;;
	77) say "SKIP  $name: $out" ;;
	*)
		say "FAIL  $name"
		say "$out"
		failed=1
		;;
	esac
}

gofmt_clean() {
	local bad
	bad=$("$("$GO" env GOROOT)/bin/gofmt" -l api bench client core docs extension hvsql)
	[ -z "$bad" ] || { say "gofmt would change:" "$bad" && return 1; }
}

# The version stands in the Makefile; whatever repeats it must say the same.
versions_agree() {
	local v bad=0
	v=$(make -s print-version)
	grep -q "^default_version = '$v'\$" control/hyperion_vault.control || { say "control/ says another version than $v" && bad=1; }
	[ "$(jq -r '[.version, .provides.hyperion_vault.version] | unique | join(",")' META.json)" = "$v" ] ||
		{ say "META.json says another version than $v" && bad=1; }
	[ "$(jq -r .provides.hyperion_vault.file META.json)" = "sql/hyperion_vault--$v.sql" ] || { say "META.json names another script" && bad=1; }
	[[ $(dpkg-parsechangelog -l debian/changelog -S Version) == "$v"-* ]] || { say "debian/changelog says another version than $v" && bad=1; }
	[ "$(sed -n '1s/.*(\(.*\)-[0-9]*) .*/\1/p' debian/changelog)" = "$v" ] || { say "debian/changelog says another version than $v" && bad=1; }
	grep -q "^## .*$v" CHANGELOG.md || { say "CHANGELOG.md has no section for $v" && bad=1; }
	return "$bad"
}

# What was released stays as it was: people have it.
frozen_scripts_agree() {
	local v commit tree bad=0
	while read -r v commit; do
		[ -f "sql/frozen/hyperion_vault--$v.sql" ] || { say "sql/frozen/ has no script of $v, which packaging/releases names" && bad=1; }
		git cat-file -e "$commit^{commit}" 2>/dev/null || continue # a checkout without history
		tree=$(mktemp -d)
		git archive "$commit" Makefile sql | tar x -C "$tree"
		[ "$(make -s -C "$tree" print-version)" = "$v" ] || { say "$commit is not version $v" && bad=1; }
		(cd "$tree" && make -s print-sql-parts | xargs cat) | cmp -s - "sql/frozen/hyperion_vault--$v.sql" ||
			{ say "sql/frozen/hyperion_vault--$v.sql is not the schema of $commit" && bad=1; }
		rm -rf "$tree"
	done < <(grep -vE '^(#|$)' packaging/releases)
	return "$bad"
}

# A part that the Makefile does not list would silently be missing from the schema.
sql_parts_listed() {
	local listed present
	listed=$(make -s print-sql-parts | tr ' ' '\n' | sort)
	present=$(find sql -maxdepth 1 -name '*.sql' ! -name 'hyperion_vault--*' | sort)
	diff <(echo "$listed") <(echo "$present") || { say "SQL_PARTS of the Makefile and sql/ differ" && return 1; }
}

shell_clean() { shellcheck -x scripts/*.sh scripts/lib/*.sh packaging/*.sh .ci/run docker/node/{init,bootstrap,health} docker/node/services/{*/run,.s6-svscan/*}; }

# units_hardened: systemd's own measure of what a unit may do, 2.0 at most.
units_hardened() {
	local dir bad=0 unit
	command -v systemd-analyze >/dev/null || { say "there is no systemd-analyze here" && return 77; }
	dir=$(mktemp -d)
	packaging/units.sh "$dir"
	for unit in "$dir"/*.service; do
		systemd-analyze security --offline=true --no-pager --threshold=20 "$unit" || bad=1
	done
	rm -rf "$dir"
	return "$bad"
}

# manual_complete: every command of the program is in its manual page.
manual_complete() {
	local command
	for command in $("$GO" run ./api/cmd/hyperion-vault-api help | awk '/^Available Commands:/ { on = 1; next } !NF { on = 0 } on { print $1 }'); do
		[ "$command" = help ] || grep -qE "^\.Cm $command|^\.It Cm $command" docs/man/hyperion-vault-api.8 || { say "docs/man/hyperion-vault-api.8 lacks $command" && return 1; }
	done
}

# The alert rules, and their unit tests.
alert_rules() {
	command -v promtool >/dev/null || { say "promtool is not installed" && return 77; }
	promtool check config --syntax-only docs/monitoring/prometheus.yml && promtool check rules docs/monitoring/alerts.yml &&
		promtool test rules docs/monitoring/alerts_test.yml
}

# govulncheck's database is on the network.
vulnerabilities() {
	local out rc=0
	out=$(timeout 300 "$GO" run "$GOVULNCHECK" ./... 2>&1) || rc=$?
	if [ "$rc" != 0 ] && grep -qE 'dial tcp|no such host|lookup .*: |403|forbidden|timeout' <<<"$out"; then
		say "its database is not reachable"
		return 77
	fi
	[ "$rc" = 0 ] || { say "$out" && return 1; }
}

cd "$ROOT"
"$ROOT/scripts/deps.sh" test
find_go
check "gofmt" gofmt_clean
check "go vet" "$GO" vet ./...
check "C with -Wall -Wextra -Werror" make --no-print-directory lint-c
check "shellcheck" shell_clean
check "versions agree" versions_agree
check "units are hardened" units_hardened
check "manual page is complete" manual_complete
check "SQL parts are listed" sql_parts_listed
check "frozen schema scripts" frozen_scripts_agree
check "documents and prose" "$GO" test ./docs
check "alert rules" alert_rules
check "workflows" "$GO" run "$ACTIONLINT" .github/workflows/*.yml
if [ "${1:-}" != quick ]; then
	check "staticcheck" "$GO" run "$STATICCHECK" ./...
	check "govulncheck" vulnerabilities
	check "arm64 builds" env GOARCH=arm64 CGO_ENABLED=0 "$GO" build -o /dev/null ./api/cmd/hyperion-vault-api ./client/cmd/hyperion-vault
fi
exit "$failed"
