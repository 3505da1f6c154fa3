#!/usr/bin/env bash
# The part of packaging/test.sh that runs in the fresh root, as root: test-inside.sh PART MAJOR OLD_VERSION
set -euo pipefail
MAJOR=$2 OLD_VERSION=$3
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

# documented HEADING [N]: runs the shell blocks under a heading of docs/INSTALL.md, or the Nth of them alone, as they are
# printed, except for the address of the repository and PostgreSQL's version. What needs a person is done for it.
documented() {
	local script rc
	script=$(awk -v heading="### $1" -v only="${2:-0}" '
		/^##/ { here = $0 == heading }
		/^ *```$/ { inside = 0 }
		inside { sub(/^   /, ""); print }
		here && /^ *```sh$/ { n++; inside = !only || n == only }' /test/INSTALL.md)
	[ -n "$script" ] || fail "docs/INSTALL.md has no shell block under $1"
	# shellcheck disable=SC2001 # two patterns in one
	script=$(sed "s|https://hyperiondb.github.io/hyperion-vault|$(sed -n 's/^URL=//p' /test/install.sh)|; s/postgresql-15/postgresql-$MAJOR/g" <<<"$script")
	echo "docs/INSTALL.md, $1:" "$script"
	# Each command has to succeed. In a condition bash would go on after one that does not.
	set +e
	(
		set -e
		sudo() { if [ "$1" = -u ]; then runuser -u "$2" -- "${@:3}"; else "$@"; fi; }
		less() { cat "$@"; }
		editor() { edit "$1"; }
		apt-get() { command apt-get -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "$@"; }
		cd /root
		eval "$script"
	)
	rc=$?
	set -e
	[ "$rc" = 0 ] || fail "a command of docs/INSTALL.md under $1"
}

# edit FILE: as an operator who has no AWS would, for a node or a further database.
edit() {
	sed -i -e 's/^VAULT_KMS_MODE=.*/VAULT_KMS_MODE=local/; s/^#VAULT_LOCAL/VAULT_LOCAL/' "$1"
	[ "$1" != /etc/hyperion-vault/other.env ] ||
		sed -i -e 's/^VAULT_API_LISTEN=.*/VAULT_API_LISTEN=127.0.0.1:8300/; s/^VAULT_PG_DBNAME=.*/VAULT_PG_DBNAME=other/; s/vault\.api\./vault.other./' "$1"
}

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
	documented "Add the repository"
	refused "Unable to locate package" apt-get -q install -y postgresql-14-hyperion-vault
}

install_all() {
	step "PostgreSQL $MAJOR"
	apt_get install "postgresql-$MAJOR" systemd-sysv dbus curl
	pg_createcluster "$MAJOR" main
	configuration >/root/before
	try_installer
	step "apt-get install postgresql-$MAJOR-hyperion-vault"
	documented Install | tee /tmp/install.log
	grep -q 'shared_preload_libraries' /tmp/install.log || fail "postinst prints no steps"
	[ "$(version_of hyperion-vault-api)" = "$OLD_VERSION" ] || fail "the API did not come along"
	configuration | diff /root/before - || fail "PostgreSQL's configuration was changed"
	[ "$(stat -c '%U:%G %a' /etc/hyperion-vault/api.env)" = "root:root 640" ] || fail "api.env: $(stat -c '%U:%G %a' /etc/hyperion-vault/api.env)"
	[ "$(stat -c '%U:%G %a' /etc/hyperion-vault/allowed-ips)" = "root:root 644" ] || fail "allowed-ips: $(stat -c '%U:%G %a' /etc/hyperion-vault/allowed-ips)"
	[ "$(id -gn hyperion-vault)" = postgres ] || fail "the user's group is $(id -gn hyperion-vault)"
	[ "$(stat -c '%U:%G %a' /run/hyperion-vault)" = "hyperion-vault:postgres 755" ] || fail "/run/hyperion-vault: $(stat -c '%U:%G %a' /run/hyperion-vault)"
	bash -n /usr/share/bash-completion/completions/hyperion-vault-api
}

set_up() {
	step "set up as docs/INSTALL.md says, then as hyperion-vault-ctl check says"
	documented "Set up" 1
	documented "Set up" 2
	follow_check
	documented "Set up" 4
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
			*EDITOR*) edit /etc/hyperion-vault/api.env ;;
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
	opens "$1"
}
# opens NAME: the secret has its value, by SQL.
opens() {
	[ "$(psql_as -c 'SET ROLE app' -c "SELECT vault.read_secret('app/$1')")" = "value-$1" ] || fail "app/$1 reads as something else"
}

# try_client: the package of the client command, against the installed server.
try_client() {
	local name=app/two
	step "hyperion-vault"
	export VAULT_ADDR=http://127.0.0.1:8200
	hyperion-vault-ctl token create "client-$RANDOM" | hyperion-vault login -
	[ "$(stat -c %a "$HOME/.vault-token")" = 600 ] || fail "the token's file: $(stat -c %a "$HOME/.vault-token")"
	hyperion-vault status | tee /tmp/status.log
	present /tmp/status.log
	printf %s by-the-command | hyperion-vault put "$name"
	[ "$(hyperion-vault get "$name" -o raw)" = by-the-command ] || fail "$name reads as something else by hyperion-vault"
	[ "$(psql_as -c "SELECT vault.read_secret('$name')")" = by-the-command ] || fail "$name reads as something else by SQL"
	refused app/missing hyperion-vault get app/missing
	bash -n /usr/share/bash-completion/completions/hyperion-vault
	present /usr/share/zsh/vendor-completions/_hyperion-vault /usr/share/fish/vendor_completions.d/hyperion-vault.fish
	rm "$HOME/.vault-token"
	unset VAULT_ADDR
}

# try_settings_file: what hyperion-vault-ctl makes of a file of settings is what systemd makes of it.
try_settings_file() {
	local file=/etc/hyperion-vault/odd.env show=/root/show
	step "hyperion-vault-ctl reads a file of settings as systemd does"
	cat >"$file" <<-'END'
		# a comment with = and '
		; another
		VAULT_A=of the comment
		VAULT_B=10.0.0.1, 10.0.0.2
		VAULT_C = between spaces
		VAULT_D='single $HOME "x"'
		VAULT_E="double \"q\" \$HOME \n `id`"
		VAULT_F=$(touch /root/ran) `touch /root/ran` $HOME ; touch /root/ran
		VAULT_G=back\slash and\
		 continued
		VAULT_H="two" 'parts' and a tail
		VAULT_I=it's
		export VAULT_J=x
		VAULT_K=
		no setting
		VAULT_L=a#b #c
		VAULT_M='two
		lines'
	END
	mkdir -p "$show"
	printf '#!/bin/sh\nenv -0 | grep -z "^VAULT_[A-Z]=" | sort -z | tr "\\0" "\\n"\n' >"$show/hyperion-vault-api"
	chmod 755 "$show/hyperion-vault-api"
	PATH=$show:$PATH hyperion-vault-ctl -i odd show 2>/root/ctl.log >/root/by-ctl || fail "hyperion-vault-ctl: $(cat /root/ctl.log)"
	systemd-run --quiet --wait --pipe -p EnvironmentFile=$file "$show/hyperion-vault-api" >/root/by-systemd || fail "systemd-run"
	present /root/by-systemd
	diff /root/by-systemd /root/by-ctl || fail "systemd reads the file otherwise"
	absent /root/ran
	rm -r "$file" "$show"
}

# reads STATUS: of a read over REST, soon; a reload may still be under way.
reads() {
	local got
	for _ in $(seq 100); do
		got=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 5 http://127.0.0.1:8200/v1/secrets/app/one)
		[ "$got" != "$1" ] || return 0
		sleep 0.1
	done
	fail "a read is answered with $got, want $1"
}

# try_watchdog: a process that is stuck is killed and started again.
try_watchdog() {
	local unit=$1 drop_in=/run/systemd/system/$1.d/watchdog.conf
	step "the watchdog"
	[ "$(systemctl show -p WatchdogUSec --value "$unit")" = 1min ] || fail "the unit has no watchdog"
	mkdir -p "$(dirname "$drop_in")"
	printf '[Service]\nWatchdogSec=5\n' >"$drop_in"
	systemctl daemon-reload
	systemctl restart "$unit"
	kill -STOP "$(systemctl show -p MainPID --value "$unit")"
	for _ in $(seq 300); do
		[ "$(systemctl show -p NRestarts --value "$unit")" = 0 ] || break
		sleep 0.2
	done
	journalctl --no-pager -o cat | grep -q 'Watchdog timeout' || fail "the watchdog did not end a process that is stuck"
	rm "$drop_in"
	systemctl daemon-reload
	systemctl restart "$unit"
	ready
}

# try_encrypted: as docs/INSTALL.md says.
try_encrypted() {
	local unit=$1 name=hyperion-vault.api.pg-password
	step "an encrypted credential"
	cp -p /etc/credstore/$name /root/
	documented "Encrypted credentials"
	absent /etc/credstore/$name
	ready
	mv /root/$name /etc/credstore/
	rm -r "/etc/systemd/system/$unit.d" /etc/credstore.encrypted
	systemctl daemon-reload
	systemctl restart "$unit"
	ready
}

# try_instance: another database is served beside the first one.
try_instance() {
	step "an instance of the template, with a database of its own"
	psql_as -c 'CREATE DATABASE other'
	psql_as -d other -c 'CREATE EXTENSION hyperion_vault' -c "SELECT vault.grant_service_role('vault_service')"
	cp -p /etc/credstore/hyperion-vault.api.pg-password /etc/credstore/hyperion-vault.other.pg-password
	cp -p /etc/credstore/hyperion-vault.api.master-key /etc/credstore/hyperion-vault.other.master-key
	documented "More than one database"
	ready 8300
	refused "this service serves other: nothing rotates there" hyperion-vault-ctl -i other check
	[ "$(hyperion-vault-ctl -i other check 2>&1 | grep -c '^missing')" = 1 ] || fail "the check of the instance finds more"
	systemctl disable --now hyperion-vault-api@other.service
	[ -S /run/hyperion-vault/agent.sock ] || fail "stopping an instance took the other's socket"
	rm /etc/hyperion-vault/other.env
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
	step "a reload takes a changed list of addresses"
	reads 200
	echo '# none' >/etc/hyperion-vault/allowed-ips
	systemctl reload "$unit"
	reads 403
	printf '127.0.0.1\n::1\n# of the administrator\n' >/etc/hyperion-vault/allowed-ips
	systemctl reload "$unit"
	reads 200
	try_watchdog "$unit"
	try_encrypted "$unit"
	try_instance
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
	documented Upgrade
	[ "$(version_of hyperion-vault-api)" != "$OLD_VERSION" ] || fail "the API was not upgraded"
	[ "$(version_of "postgresql-$MAJOR-hyperion-vault")" != "$OLD_VERSION" ] || fail "the extension was not upgraded"
	grep -q 'of the administrator' /etc/hyperion-vault/allowed-ips || fail "the list of addresses was replaced"
	grep -q '^VAULT_KMS_MODE=local' /etc/hyperion-vault/api.env || fail "the settings were replaced"
	step "apt-get install hyperion-vault" # 0.1.0 had no such package
	documented "The command line"
}

use_upgraded() {
	local installed
	step "after the upgrade: it is started with the system, and what was stored opens"
	ready
	opens one
	psql_as -c 'ALTER EXTENSION hyperion_vault UPDATE'
	psql_as -d other -c 'ALTER EXTENSION hyperion_vault UPDATE'
	installed=$(psql_as -c "SELECT default_version FROM pg_available_extensions WHERE name = 'hyperion_vault'")
	[ "$(psql_as -c 'SELECT vault.extension_version()')" = "$installed" ] || fail "the schema is not of version $installed"
	hyperion-vault-ctl check
	opens one
	use two
	try_client
	try_settings_file
	step "remove stops it"
	refused "cannot drop extension hyperion_vault: it holds secrets" psql_as -c 'DROP EXTENSION hyperion_vault'
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
	documented Remove | tee /tmp/purge.log
	grep -q '/var/lib/hyperion-vault/audit is not empty and stays' /tmp/purge.log || fail "purge does not say that the journal stays"
	present /var/lib/hyperion-vault/audit/journal /etc/credstore/hyperion-vault.api.master-key /etc/credstore/hyperion-vault.api.pg-password
	absent /etc/hyperion-vault /run/hyperion-vault /usr/bin/hyperion-vault /usr/share/bash-completion/completions/hyperion-vault
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
