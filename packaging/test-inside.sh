#!/usr/bin/env bash
# The part of packaging/test.sh that runs in the fresh root, as root: test-inside.sh install|upgrade MAJOR
set -euo pipefail
MAJOR=$2
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
version_of() { dpkg-query -W -f '${Version}' "$1"; }

# ready: the API of a port answers that it is.
ready() {
	local port=${1:-8200}
	for _ in $(seq 300); do
		curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$port/readyz" 2>/dev/null && return
		sleep 0.1
	done
	journalctl --no-pager -n 50 -u 'hyperion-vault-api*' >&2
	fail "the API on port $port did not become ready: $(curl -sS --max-time 2 "http://127.0.0.1:$port/readyz")"
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
	apt_get install "postgresql-$MAJOR" systemd-sysv dbus curl
	pg_createcluster "$MAJOR" main
	configuration >/root/before
	try_installer
	step "apt-get install postgresql-$MAJOR-hyperion-vault"
	apt_get install "postgresql-$MAJOR-hyperion-vault" | tee /tmp/install.log
	grep -q 'shared_preload_libraries' /tmp/install.log || fail "postinst prints no steps"
	[ "$(version_of hyperion-vault-api)" = 0.0.9-1 ] || fail "the API did not come along"
	configuration | diff /root/before - || fail "PostgreSQL's configuration was changed"
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
	follow_check
	ready
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
			# What needs a person is done for it.
			case $command in
			*EDITOR*) sed -i -e 's/^VAULT_KMS_MODE=.*/VAULT_KMS_MODE=local/; s/^#VAULT_LOCAL/VAULT_LOCAL/' /etc/hyperion-vault/api.env ;;
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

# try_units: what the sandbox and the credentials do, with systemd as it is.
try_units() {
	local unit=hyperion-vault-api.service log
	step "the unit"
	log=$(journalctl --no-pager -o cat -u "$unit")
	! grep -q 'could not be locked' <<<"$log" || fail "the unit cannot lock memory"
	[ "$(systemctl show -p StatusText --value "$unit")" = ready ] || fail "status: $(systemctl show -p StatusText --value "$unit")"
	! systemctl show -p Environment "$unit" | grep -qF "$(cat /etc/credstore/hyperion-vault.api.pg-password)" || fail "the environment has the password"
	! tr '\0' '\n' <"/proc/$(systemctl show -p MainPID --value "$unit")/environ" | grep -qF "$(cat /etc/credstore/hyperion-vault.api.pg-password)" ||
		fail "the process's environment has the password"
	systemctl reload "$unit"
	ready
	step "an instance of the template, with a database of its own"
	psql_as -c 'CREATE DATABASE other'
	psql_as -d other -c 'CREATE EXTENSION hyperion_vault' -c "SELECT vault.grant_service_role('vault_service')"
	sed -e 's/^VAULT_API_LISTEN=.*/VAULT_API_LISTEN=127.0.0.1:8300/; s/^VAULT_PG_DBNAME=.*/VAULT_PG_DBNAME=other/; s/vault\.api\./vault.other./' \
		/etc/hyperion-vault/api.env >/etc/hyperion-vault/other.env
	cp -p /etc/credstore/hyperion-vault.api.pg-password /etc/credstore/hyperion-vault.other.pg-password
	cp -p /etc/credstore/hyperion-vault.api.master-key /etc/credstore/hyperion-vault.other.master-key
	systemctl start hyperion-vault-api@other.service
	ready 8300
	systemctl stop hyperion-vault-api@other.service
	[ -S /run/hyperion-vault/agent.sock ] || fail "stopping an instance took the other's socket"
	rm /etc/hyperion-vault/other.env
	step "stop"
	systemctl stop "$unit"
	[ "$(systemctl show -p Result --value "$unit")" = success ] || fail "stop: $(systemctl show -p Result --value "$unit")"
	step "a missing secret is named"
	mv /etc/credstore/hyperion-vault.api.pg-password /root/
	refused "" systemctl start "$unit"
	journalctl --no-pager -o cat -n 20 -u "$unit" | grep -q VAULT_PG_PASSWORD_FILE || fail "the log does not name the setting"
	mv /root/hyperion-vault.api.pg-password /etc/credstore/
	systemctl reset-failed "$unit"
	systemctl enable --now "$unit"
	ready
}

upgrade() {
	step "upgrade"
	apt-get update -q
	apt_get upgrade | tee /tmp/upgrade.log
	[ "$(version_of hyperion-vault-api)" != 0.0.9-1 ] || fail "the API was not upgraded"
	[ "$(version_of "postgresql-$MAJOR-hyperion-vault")" != 0.0.9-1 ] || fail "the extension was not upgraded"
	grep -q '^VAULT_KMS_MODE=local' /etc/hyperion-vault/api.env || fail "the settings were replaced"
}

use_upgraded() {
	step "after the upgrade: it is started with the system, and what was stored opens"
	ready
	hyperion-vault-ctl check
	[ "$(psql_as -c 'SET ROLE app' -c "SELECT vault.read_secret('app/one')")" = value-one ] || fail "app/one does not open after the upgrade"
	use two
	step "remove stops it"
	rm -f /usr/sbin/policy-rc.d # it would keep the package from stopping its service
	apt_get --no-download remove hyperion-vault-api
	! systemctl is-active hyperion-vault-api.service || fail "it still runs"
	absent /run/hyperion-vault/agent.sock
	[ "$(psql_as -c 'SELECT count(*) FROM vault.secrets')" = 2 ] || fail "the database's secrets are not there"
	psql_as -c "ALTER SYSTEM RESET shared_preload_libraries"
}

remove() {
	step "remove"
	absent /usr/bin/hyperion-vault-api "/usr/lib/postgresql/$MAJOR/lib/hyperion_vault.so"
	present /etc/hyperion-vault/api.env
	step "purge"
	apt_get purge "postgresql-$MAJOR-hyperion-vault" hyperion-vault-api | tee /tmp/purge.log
	grep -q '/var/lib/hyperion-vault/audit is not empty and stays' /tmp/purge.log || fail "purge does not say that the journal stays"
	present /var/lib/hyperion-vault/audit/journal /etc/credstore/hyperion-vault.api.master-key /etc/credstore/hyperion-vault.api.pg-password
	absent /etc/hyperion-vault /run/hyperion-vault
	configuration | diff /root/before - || fail "PostgreSQL's configuration was changed"
	step "purge of what was never used"
	apt_get install hyperion-vault-api >/dev/null
	rm -rf /var/lib/hyperion-vault
	apt_get purge hyperion-vault-api >/dev/null
	absent /etc/hyperion-vault /run/hyperion-vault /var/lib/hyperion-vault
}

case $1 in
install) install_all ;;
use)
	set_up
	use one
	;;
units) try_units ;;
upgrade) upgrade ;;
use_upgraded) use_upgraded ;;
remove) remove ;;
esac
