#!/usr/bin/env bash
# The part of packaging/test.sh that runs in the fresh root, as root: test-inside.sh install|upgrade MAJOR
set -euo pipefail
MAJOR=$2
mount -t proc proc /proc # of this pid namespace
fail() {
	echo "FAIL  $*" >&2
	exit 1
}
step() { echo "--- $*"; }
# absent, present PATH...
absent() {
	local path
	for path; do [ ! -e "$path" ] || fail "$path is there"; done
}
present() {
	local path
	for path; do [ -s "$path" ] || fail "$path is not there, or empty"; done
}
# refused TEXT COMMAND...: it fails, and says TEXT.
refused() {
	local text=$1 out rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	[ "$rc" != 0 ] || fail "not refused: $*"
	grep -qF -- "$text" <<<"$out" || fail "$*: said $out, want $text"
}
apt_get() { apt-get -y -q --no-install-recommends -o Acquire::Check-Valid-Until=true "$@"; }
psql_as() { runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
configuration() { (cd /etc/postgresql && find . -type f -exec sha256sum {} + | sort); }
server() { pg_ctlcluster "$MAJOR" main "$1"; }
version_of() { dpkg-query -W -f '${Version}' "$1"; }

api_start() {
	local credentials=/run/credentials/hyperion-vault-api.service
	# What systemd does for the unit.
	install -d -m 755 /run/credentials
	install -d -m 500 -o hyperion-vault "$credentials"
	install -m 400 -o hyperion-vault /etc/credstore/hyperion-vault.api.* "$credentials/"
	install -d -m 700 -o hyperion-vault -g postgres /var/lib/hyperion-vault
	(
		set -a
		# shellcheck disable=SC2034 # exported by set -a
		VAULT_AGENT_SOCKET=/run/hyperion-vault/agent.sock VAULT_AUDIT_DIR=/var/lib/hyperion-vault/audit CREDENTIALS_DIRECTORY=$credentials
		# shellcheck source=/dev/null
		. /etc/hyperion-vault/api.env
		exec setpriv --reuid hyperion-vault --regid postgres --clear-groups --no-new-privs --bounding-set=-all -- hyperion-vault-api serve
	) >>/var/log/hyperion-vault-api.log 2>&1 &
	api=$!
	for _ in $(seq 300); do
		curl -fsS -o /dev/null --max-time 2 http://127.0.0.1:8200/readyz 2>/dev/null && return
		kill -0 "$api" 2>/dev/null || break
		sleep 0.1
	done
	cat /var/log/hyperion-vault-api.log >&2
	fail "the API did not become ready"
}
api_stop() {
	kill -TERM "$api"
	wait "$api" || fail "the API ended with $?"
}

try_installer() {
	step "install.sh: refuses, and changes nothing when dry"
	refused "is not signed by the key" sh /test/install.sh --dry-run --fingerprint 0000000000000000000000000000000000000000
	refused "cannot be downloaded" sh /test/install.sh --dry-run --url http://127.0.0.1:1
	sed 's/^KEY_SHA256=.*/KEY_SHA256=00/' /test/install.sh >/tmp/other.sh
	refused "is not the one that this script knows" sh /tmp/other.sh
	sed "s/^SUITES=.*/SUITES='other'/" /test/install.sh >/tmp/other.sh
	refused "there are no packages for this distribution" sh /tmp/other.sh
	sed "s/^ARCHS=.*/ARCHS='m68k'/" /test/install.sh >/tmp/other.sh
	refused "there are no packages for this architecture" sh /tmp/other.sh
	sh /test/install.sh --dry-run
	absent /etc/apt/keyrings/hyperion-vault.gpg /etc/apt/sources.list.d/hyperion-vault.sources
	step "install.sh"
	sh /test/install.sh
	refused "Unable to locate package" apt-get -q install -y postgresql-14-hyperion-vault
}

install_all() {
	step "PostgreSQL $MAJOR"
	apt_get install "postgresql-$MAJOR" curl
	pg_createcluster "$MAJOR" main
	configuration >/tmp/before
	try_installer
	step "apt-get install postgresql-$MAJOR-hyperion-vault"
	apt_get install "postgresql-$MAJOR-hyperion-vault" | tee /tmp/install.log
	grep -q 'shared_preload_libraries' /tmp/install.log || fail "postinst prints no steps"
	[ "$(version_of hyperion-vault-api)" = 0.0.9-1 ] || fail "the API did not come along"
	configuration | diff /tmp/before - || fail "PostgreSQL's configuration was changed"
	[ "$(stat -c '%U:%G %a' /etc/hyperion-vault/api.env)" = "root:root 640" ] || fail "api.env: $(stat -c '%U:%G %a' /etc/hyperion-vault/api.env)"
	[ "$(id -gn hyperion-vault)" = postgres ] || fail "the user's group is $(id -gn hyperion-vault)"
	[ "$(stat -c '%U:%G %a' /run/hyperion-vault)" = "hyperion-vault:postgres 755" ] || fail "/run/hyperion-vault: $(stat -c '%U:%G %a' /run/hyperion-vault)"
	bash -n /usr/share/bash-completion/completions/hyperion-vault-api
}

set_up() {
	local password=/etc/credstore/hyperion-vault.api.pg-password
	step "set up as docs/INSTALL.md says, then as hyperion-vault-ctl check says"
	install -d -m 700 /etc/credstore
	(umask 077 && head -c 24 /dev/urandom | base64 >"$password")
	(umask 077 && head -c 32 /dev/urandom | base64 >/etc/credstore/hyperion-vault.api.master-key)
	server start
	follow_check
	psql_as -c 'CREATE ROLE app LOGIN' -c "SELECT vault.grant_access('app', 'app/*', '{read}')"
}

# follow_check: runs the commands that the check prints until it finds nothing more.
follow_check() {
	local round command
	for round in 1 2 3 4 5 6; do
		echo "check, round $round"
		if hyperion-vault-ctl check 2>&1 | tee /tmp/check.log; then return; fi
		grep '^   ' /tmp/check.log >/tmp/check.commands
		while read -r command <&3; do
			# What needs a person or systemd is done for it.
			case $command in
			*EDITOR*) sed -i -e 's/^VAULT_KMS_MODE=.*/VAULT_KMS_MODE=local/; s/^#VAULT_LOCAL/VAULT_LOCAL/' /etc/hyperion-vault/api.env ;;
			'systemctl restart postgresql') server restart ;;
			'systemctl start hyperion-vault-api.service') api_start ;;
			*) cat /etc/credstore/hyperion-vault.api.pg-password{,} | setsid bash -euc "$command" ;;
			esac
		done 3</tmp/check.commands
	done
	fail "the check still finds something"
}

use() {
	local token
	step "create by REST, read by SQL"
	token=$(hyperion-vault-ctl token create "test-$RANDOM")
	curl -fsS http://127.0.0.1:8200/v1/secrets -H @<(echo "Authorization: Bearer $token") --json "{\"name\":\"app/$1\",\"kind\":\"manual\",\"value\":\"value-$1\"}" >/dev/null
	[ "$(psql_as -c 'SET ROLE app' -c "SELECT vault.read_secret('app/$1')")" = "value-$1" ] || fail "app/$1 reads as something else"
}

upgrade() {
	step "upgrade"
	server start
	api_start
	use two
	api_stop
	apt-get update -q
	apt_get upgrade | tee /tmp/upgrade.log
	[ "$(version_of hyperion-vault-api)" != 0.0.9-1 ] || fail "the API was not upgraded"
	[ "$(version_of "postgresql-$MAJOR-hyperion-vault")" != 0.0.9-1 ] || fail "the extension was not upgraded"
	grep -q '^VAULT_KMS_MODE=local' /etc/hyperion-vault/api.env || fail "the settings were replaced"
	server restart
	api_start
	[ "$(psql_as -c 'SET ROLE app' -c "SELECT vault.read_secret('app/one')")" = value-one ] || fail "app/one does not open after the upgrade"
	use three
	api_stop
}

remove() {
	step "remove"
	apt_get remove "postgresql-$MAJOR-hyperion-vault" hyperion-vault-api
	absent /usr/bin/hyperion-vault-api "/usr/lib/postgresql/$MAJOR/lib/hyperion_vault.so"
	[ -e /etc/hyperion-vault/api.env ] || fail "remove took the settings"
	step "purge"
	apt_get purge "postgresql-$MAJOR-hyperion-vault" hyperion-vault-api | tee /tmp/purge.log
	grep -q '/var/lib/hyperion-vault/audit is not empty and stays' /tmp/purge.log || fail "purge does not say that the journal stays"
	present /var/lib/hyperion-vault/audit/journal /etc/credstore/hyperion-vault.api.master-key /etc/credstore/hyperion-vault.api.pg-password
	absent /etc/hyperion-vault /run/hyperion-vault
	psql_as -c "ALTER SYSTEM RESET shared_preload_libraries"
	server restart
	[ "$(psql_as -c 'SELECT count(*) FROM vault.secrets')" = 3 ] || fail "the database's secrets are not there"
	server stop
	configuration | diff /tmp/before - || fail "PostgreSQL's configuration was changed"
	step "purge of what was never used"
	apt_get install hyperion-vault-api >/dev/null
	rm -rf /var/lib/hyperion-vault
	apt_get purge hyperion-vault-api >/dev/null
	absent /etc/hyperion-vault /run/hyperion-vault /var/lib/hyperion-vault
}

case $1 in
install)
	install_all
	set_up
	use one
	api_stop
	server stop
	;;
upgrade)
	upgrade
	remove
	;;
esac
