#!/usr/bin/env bash
# The part of packaging/test-source.sh that runs in the fresh root, as root.
set -euo pipefail
cd /root/hyperion-vault
fail() {
	echo "FAIL  $*" >&2
	exit 1
}
# block HEADING LANGUAGE N: the Nth such block under a heading of docs/INSTALL.md.
block() {
	awk -v heading="## $1" -v open="^\`\`\`$2\$" -v want="$3" '
		/^##/ { here = $0 == heading }
		/^```$/ { inside = 0 }
		inside && n == want
		here && $0 ~ open { n++; inside = 1 }' docs/INSTALL.md | grep . || fail "docs/INSTALL.md has no block $3 of $2 under $1"
}
psql_as() { runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

from_source() {
	local script unit
	script=$(block "From source" sh 1 && block "From source" sh 2)
	printf '%s\n' "docs/INSTALL.md, From source:" "$script"
	bash -euc "$script"
	for unit in hyperion-vault-api.service hyperion-vault-api@.service; do
		[ -s "$unit" ] || fail "$unit was not written"
	done
}

# postgres_with_library: what the comment of the SQL block asks for.
postgres_with_library() {
	pg_createcluster 15 main
	echo "shared_preload_libraries = 'hyperion_vault'" >>/etc/postgresql/15/main/postgresql.conf
	pg_ctlcluster 15 main start
}

# by_hand: the commands serve until they are stopped, so they run beside the rest.
by_hand() {
	local script
	block "By hand" sql 1 | tee /dev/stderr | psql_as -f - >/dev/null
	script=$(block "By hand" sh 1 && block "By hand" sh 2)
	printf '%s\n' "docs/INSTALL.md, By hand:" "$script"
	bash -euc "$script" >/root/serve.log 2>&1 &
	for _ in $(seq 300); do
		! curl -fsS -o /dev/null --max-time 2 http://127.0.0.1:8200/readyz 2>/dev/null || return 0
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	cat /root/serve.log >&2
	fail "the API did not become ready: $(curl -sS --max-time 2 http://127.0.0.1:8200/readyz)"
}

# used: the printed token creates a secret, and REST and an SQL role of the same node read it.
used() {
	local token
	token=$(grep -o 'hvt_[^ ]*' /root/serve.log | head -n 1)
	[ -n "$token" ] || fail "no token was printed"
	curl -fsS http://127.0.0.1:8200/v1/secrets -H @<(echo "Authorization: Bearer $token") --json '{"name":"app/one","kind":"manual","value":"of-one"}' >/dev/null
	curl -fsS http://127.0.0.1:8200/v1/secrets/app/one | grep -q '"of-one"' || fail "REST reads something else"
	psql_as -c 'CREATE ROLE app LOGIN' -c "SELECT vault.grant_access('app', 'app/*', '{read}')"
	[ "$(psql_as -c 'SET ROLE app' -c "SELECT vault.read_secret('app/one')")" = of-one ] || fail "SQL reads something else"
}

# checked: with the settings of the page, the check finds nothing.
checked() {
	block "By hand" sh 2 | grep '^export' >/root/settings
	(
		# shellcheck source=/dev/null
		. /root/settings
		sudo -E -u hyperion-vault hyperion-vault-api check
	) || fail "the check finds something"
}

from_source
postgres_with_library
by_hand
used
checked
echo "ok    docs/INSTALL.md, from source and by hand"
