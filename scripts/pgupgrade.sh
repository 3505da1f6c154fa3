#!/usr/bin/env bash
# pg_upgrade from PostgreSQL 15 over 17 to 18 with secrets, in the chroot of 18 (each step that these minor versions
# allow): the servers of this machine (15) and of the chroot of 17 are copied into it, with the libraries that it does
# not have. Without root, debootstrap or a suite it says why it does nothing.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

skip() {
	say "SKIP  pg_upgrade: $*"
	exit 0
}
! reason=$(no_chroot) || skip "$reason"
[ "$(pg_config --version | grep -oE '[0-9]+' | head -n 1)" = 15 ] || skip "this machine's PostgreSQL is not 15"
own_mounts "$0" "$@"
mkdir -p "$DEV_DIR"

# copy_server ROOT MAJOR: the server that ROOT has, into the chroot, with what it links to and the chroot has not.
copy_server() {
	local root=${1%/} major=$2 library dir
	for dir in "usr/lib/postgresql/$major" "usr/share/postgresql/$major"; do
		rm -rf "${CHROOT:?}/$dir"
		mkdir -p "$CHROOT/$dir"
		cp -a "$root/$dir/." "$CHROOT/$dir/"
	done
	mkdir -p "$CHROOT/opt/older/lib"
	echo /opt/older/lib >"$CHROOT/etc/ld.so.conf.d/older.conf"
	for library in $(chroot "${root:-/}" ldd "/usr/lib/postgresql/$major/bin/postgres" | awk '$2 == "=>" { print $3 }'); do
		# shellcheck disable=SC2016 # the inner shell expands
		inside sh -c 'ldconfig -p | grep -qF "$1 "' sh "${library##*/}" || cp -L "$root$library" "$CHROOT/opt/older/lib/"
	done
	inside ldconfig
}

# install_in MAJOR: builds and installs the extension in the chroot of a major version.
install_in() {
	chroot_for "$1"
	make_chroot >"$CHROOT.log" 2>&1 || skip "the chroot could not be made; see $CHROOT.log"
	copy_tree "$CHROOT/src"
	quietly "make install ($1)" inside make -C /src PG_CONFIG="/usr/lib/postgresql/$1/bin/pg_config" install
}

# fits OLD NEW: minor releases of late 2026 note a version at each column, with an option that older ones do not know.
fits() {
	! grep -q pg_attver "$CHROOT/usr/lib/postgresql/$1/bin/postgres" || grep -q pg_attver "$CHROOT/usr/lib/postgresql/$2/bin/postgres"
}

# earlier_15: replaces the server 15 in the chroot by the earliest one that apt has and that fits, with the extension
# built for it: what the headers of a later one call it may not have.
earlier_15() {
	local version dir deb
	dir=$(mktemp -d)
	version=$(apt-cache policy postgresql-15 | awk '$2 ~ /^[0-9]+$/ && $1 ~ /^15/ { v = $1 } END { print v }')
	(cd "$dir" && apt-get download "postgresql-15=$version" "postgresql-client-15=$version" "postgresql-server-dev-15=$version") >/dev/null 2>&1 || return 1
	for deb in "$dir"/*.deb; do dpkg -x "$deb" "$CHROOT"; done
	rm -rf "$dir"
	fits 15 18 || return 1
	# The compiler of that suite takes another C for its own than 15 is written in.
	quietly "make install (15)" inside make -C /src COPT=-std=gnu17 PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config install
}

# upgrade TO FROM...: the test on the server TO, through each of FROM.
upgrade() {
	local to=$1 from
	shift
	from=$(printf '/usr/lib/postgresql/%s/bin/pg_config:' "$@")
	inside HV_REQUIRE_PG=1 HV_PG_CONFIG="/usr/lib/postgresql/$to/bin/pg_config" HV_OLDER_PG_CONFIGS="${from%:}" \
		sh -c 'cd /src/extension/exttest && exec /src/bin/exttest.test -test.timeout 10m -test.v -test.run "^TestPgUpgrade$"'
}

find_go
cd "$ROOT"
"$ROOT/scripts/deps.sh" test
build_all
install_extension
"$GO" test -c -o bin/exttest.test ./extension/exttest
install_in 17
older=$CHROOT
install_in 18
copy_server "" 15
copy_server "$older" 17
if fits 17 18; then
	upgrade 18 15 17
	exit
fi
upgrade 17 15
say "SKIP  pg_upgrade from 17 to 18: for no table at all can this 18 read what this 17 wrote"
if ! fits 15 18; then
	earlier_15 || skip "from 15 to 18 as well, and apt has no earlier 15"
fi
upgrade 18 15
