#!/usr/bin/env bash
# Installs what is missing to build, run and (with "test") check the project, by apt. With "deb" it installs what building
# packages needs instead; the headers of the PostgreSQL versions to build for must be there. Silent when all is there.
# It never touches an existing PostgreSQL cluster and makes none.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

case ${1:-} in '' | test | deb) what=${1:-} ;; *) die "$1: want nothing, test or deb" ;; esac

# The major version to build for: of PG_CONFIG, of the newest installed server, or the distribution's own.
pg_major() {
	local bin
	if bin=$("${PG_CONFIG:-pg_config}" --bindir 2>/dev/null) && [ -x "$bin/postgres" ]; then
		"$bin/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'
		return
	fi
	bin=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n1)
	if [ -n "$bin" ]; then
		"$bin" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'
		return
	fi
	apt-cache depends postgresql 2>/dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n1
}

# has_server, has_headers: of the PostgreSQL that PG_CONFIG names. Debian's client package alone brings pgxs.mk, so
# that says nothing of the headers.
has_server() { [ "$what" = deb ] || [ -x "$("${PG_CONFIG:-pg_config}" --bindir 2>/dev/null)/postgres" ]; }
has_headers() {
	[ "$what" = deb ] && return
	[ -f "$("${PG_CONFIG:-pg_config}" --pgxs 2>/dev/null)" ] &&
		[ -f "$("${PG_CONFIG:-pg_config}" --includedir-server 2>/dev/null)/postgres.h" ]
}

apt_install() {
	quietly "apt-get install $*" as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "$@"
}

# Installing a server package makes and starts a cluster "main" on port 5432 unless told otherwise; a user who
# tries this project did not ask for that. The drop-in goes again, so that the next package is as it always was.
install_server() {
	local major=$1 conf=/etc/postgresql-common/createcluster.d/hyperion-vault.conf rc=0
	apt_install postgresql-common
	if [ ! -e "$conf" ]; then
		as_root mkdir -p "${conf%/*}"
		echo "create_main_cluster = false" | as_root tee "$conf" >/dev/null
	fi
	(apt_install "postgresql-$major" "postgresql-server-dev-$major") || rc=$?
	as_root rm -f "$conf"
	return "$rc"
}

# Packages of daemons start their daemons, now and with the machine. The tests run daemons of their own with other
# settings, so a policy forbids the start. It is removed however this ends.
install_daemons() (
	policy=/usr/sbin/policy-rc.d
	saved=$policy.before-hyperion-vault
	trap 'as_root rm -f "$policy"; [ ! -e "$saved" ] || as_root mv -f "$saved" "$policy"' EXIT
	[ ! -e "$policy" ] || as_root mv -f "$policy" "$saved"
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
	apt_install "$@"
	for service in etcd patroni prometheus nginx; do
		[[ " $* " != *" $service"* ]] || ! command -v systemctl >/dev/null || as_root systemctl --quiet disable "$service" 2>/dev/null || true
	done
)

missing=()
daemons=()
# need COMMAND PACKAGE
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need gcc gcc
need make make
need curl curl
need jq jq
need flock util-linux
need setpriv util-linux
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -d /etc/ssl/certs ] || missing+=(ca-certificates)
if [ "$what" != '' ]; then
	need dpkg-buildpackage dpkg-dev
	need dh debhelper
	need fakeroot fakeroot
	need pg_buildext postgresql-server-dev-all
	need lintian lintian
fi
if [ "$what" = test ]; then
	need shellcheck shellcheck
	need apt-ftparchive apt-utils
	need gpg gpg
	need gpgv gpgv
	need debootstrap debootstrap
	need systemd-nspawn systemd-container
	need python3 python3
	# Clients of Vault, in which the tests speak to the API; hvac is for Debian's Python, which may not be the first in PATH.
	/usr/bin/python3 -c 'import hvac' 2>/dev/null || missing+=(python3-hvac)
	need ansible-playbook ansible
	# The browser in which the tests use the console, with fonts to draw its pages.
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium fonts-dejavu-core)
	command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || daemons+=(pgbouncer)
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || daemons+=(nginx-light)
	command -v socat >/dev/null || daemons+=(socat) # passes bytes on, as no pooler does
	command -v promtool >/dev/null || daemons+=(prometheus) # its tool checks the alert rules
	command -v etcd >/dev/null || daemons+=(etcd-server)
	command -v patroni >/dev/null || daemons+=(patroni)
fi

if [ $((${#missing[@]} + ${#daemons[@]})) -gt 0 ] || ! has_server || ! has_headers; then
	command -v apt-get >/dev/null || die "missing: ${missing[*]:-} ${daemons[*]:-} PostgreSQL with its server headers" \
		"this script knows Debian and Ubuntu only; install them with your system's package manager"
	quietly "apt-get update" as_root apt-get update
fi
if [ ${#missing[@]} -gt 0 ]; then
	say "installing ${missing[*]}"
	apt_install "${missing[@]}"
fi
if ! has_server || ! has_headers; then
	if [ -n "${PG_CONFIG:-}" ] && [ "$PG_CONFIG" != pg_config ]; then
		die "PG_CONFIG=$PG_CONFIG has no server or no server headers beside it"
	fi
	major=$(pg_major)
	[ -n "$major" ] || die "apt knows no package postgresql"
	say "installing postgresql-$major and postgresql-server-dev-$major"
	install_server "$major"
fi
if [ ${#daemons[@]} -gt 0 ]; then
	say "installing ${daemons[*]}, without starting them"
	install_daemons "${daemons[@]}"
fi
# A library beside the server's own, which tests preload. Without it they are skipped.
if [ "$what" = test ] && [ ! -e "$("${PG_CONFIG:-pg_config}" --pkglibdir)/pgaudit.so" ]; then
	pgaudit=postgresql-$(pg_major)-pgaudit
	apt-cache show "$pgaudit" >/dev/null 2>&1 || quietly "apt-get update" as_root apt-get update
	if apt-cache show "$pgaudit" >/dev/null 2>&1; then
		say "installing $pgaudit"
		apt_install "$pgaudit"
	fi
fi
find_go
# What the programs are built of, so that building needs no network; silent when it is there.
quietly "go list -deps" "$GO" -C "$ROOT" list -deps ./api/cmd/hyperion-vault-api ./extension/golib
