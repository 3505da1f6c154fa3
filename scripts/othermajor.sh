#!/usr/bin/env bash
# The extension on another major version of PostgreSQL than this machine has: 17, 18 or 19, from the Debian suite that
# has it (19 is a release candidate in "experimental"), in a chroot under DEV_DIR that is made once (some 2 GB). There
# the shim is built with the chroot's compiler and -Werror, and its SQL regression tests and extension/exttest run.
# Go's part and the API are built here: they know nothing of PostgreSQL's version. Without root, debootstrap or the
# suite it says why it does nothing.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

# shellcheck source=lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"

major=${1:-}
case $major in 17 | 18 | 19) chroot_for "$major" ;; *) die "want 17, 18 or 19" ;; esac

skip() {
	say "SKIP  PostgreSQL $major: $*"
	exit 0
}
! reason=$(no_chroot) || skip "$reason"
own_mounts "$0" "$@"

# regress: a private server in there, and installcheck against it.
regress() {
	# shellcheck disable=SC2016 # the inner shell expands
	inside PG_CONFIG="$config" bash -c '
		. /src/scripts/lib/base.sh
		. /src/scripts/lib/postgres.sh
		CLUSTER=/var/tmp/cluster
		PG_PORT=$(free_port 16532)
		rm -rf "$CLUSTER"
		install -d -m 700 -o postgres "$CLUSTER"
		trap cluster_stop EXIT
		cluster_create
		cluster_start
		PGHOST=$CLUSTER/run PGPORT=$PG_PORT PGUSER=postgres /src/scripts/installcheck.sh' 2>&1
}

# exttest ARGUMENTS...: of go test, each beginning with -test.
exttest() {
	# shellcheck disable=SC2016 # the inner shell expands
	inside HV_REQUIRE_PG=1 HV_PG_CONFIG="$config" sh -c 'cd /src/extension/exttest && exec /src/bin/exttest.test "$@"' sh \
		-test.timeout 40m "$@"
}

mkdir -p "$DEV_DIR"
make_chroot >"$CHROOT.log" 2>&1 || skip "the chroot could not be made; see $CHROOT.log"
find_go
cd "$ROOT"
quietly "make build" make --no-print-directory build
"$GO" test -c -o bin/exttest.test ./extension/exttest
copy_tree "$CHROOT/src"
config=/usr/lib/postgresql/$major/bin/pg_config
quietly "make install" inside make -C /src COPT=-Werror PG_CONFIG="$config" install
say "ok    build and install on $(inside "$config" --version)"
regress
exttest "${@:2}"
