#!/usr/bin/env bash
# The extension on another major version of PostgreSQL than this machine has: 17 or 18, from the Debian suite that has
# it, in a chroot under DEV_DIR that is made once (some 2 GB). There the shim is built with the chroot's compiler and
# -Werror, and its SQL regression tests and extension/exttest run. Go's part and the API are built here: they know
# nothing of PostgreSQL's version. Without root, debootstrap or the suite it says why it does nothing.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

# The one that this machine's apt uses.
# shellcheck disable=SC2016 # for apt-get to expand
MIRROR=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/*$' || true)}
major=${1:-}
case $major in
17) suite=trixie script=trixie ;;
18) suite=forky script=sid ;;
*) die "want 17 or 18" ;;
esac
DIR=${DEV_DIR:-$ROOT/.dev}/chroot-pg$major

skip() {
	say "SKIP  PostgreSQL $major: $*"
	exit 0
}
[ -n "$MIRROR" ] || skip "apt knows no Debian mirror; set DEBIAN_MIRROR"
is_root || skip "a chroot needs root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
# What is mounted here is gone with this script, however it ends.
if [ "${HV_OWN_MOUNTS:-}" != 1 ]; then
	unshare --mount true 2>/dev/null || skip "no mount namespace can be made"
	HV_OWN_MOUNTS=1 exec unshare --mount --propagation private -- "$0" "$@"
fi

inside() { chroot "$DIR" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8 "$@"; }

mount_proc() { mountpoint -q "$DIR/proc" || mount --bind /proc "$DIR/proc"; }

make_chroot() {
	if [ ! -e "$DIR/.complete" ]; then
		rm -rf "$DIR"
		mkdir -p "$DIR"
		debootstrap --variant=minbase "$suite" "$DIR" "$MIRROR" "/usr/share/debootstrap/scripts/$script" || return 1
		mount_proc
		# No cluster of the system's, and no service that would start.
		mkdir -p "$DIR/etc/postgresql-common"
		echo 'create_main_cluster = false' >"$DIR/etc/postgresql-common/createcluster.conf"
		printf '#!/bin/sh\nexit 101\n' >"$DIR/usr/sbin/policy-rc.d" && chmod 755 "$DIR/usr/sbin/policy-rc.d"
		# A mirror may lag behind what its lists are valid for.
		inside apt-get -o Acquire::Check-Valid-Until=false update -q && inside DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
			"postgresql-$major" "postgresql-server-dev-$major" gcc make libc6-dev curl || return 1
		touch "$DIR/.complete"
	fi
	mount_proc
}

# copy_tree: with the times, so that make in there has only the shim to build.
copy_tree() {
	rm -rf "$DIR/src"
	mkdir "$DIR/src"
	(cd "$ROOT" && tar c --exclude=./.git --exclude=./.dev --exclude='*.o' --exclude=./hyperion_vault.so .) | tar x -C "$DIR/src"
	chown -R root:root "$DIR/src"
}

# regress: a private server in there, and installcheck against it.
regress() {
	# shellcheck disable=SC2016 # the inner shell expands
	inside PG_CONFIG="$config" bash -c '
		. /src/scripts/lib/base.sh
		. /src/scripts/lib/postgres.sh
		CLUSTER=/var/tmp/cluster
		PG_PORT=$(free_port 56532)
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
		-test.timeout 10m "$@"
}

mkdir -p "$(dirname "$DIR")"
make_chroot >"$DIR.log" 2>&1 || skip "the chroot could not be made; see $DIR.log"
find_go
cd "$ROOT"
quietly "make build" make --no-print-directory build
"$GO" test -c -o bin/exttest.test ./extension/exttest
copy_tree
config=/usr/lib/postgresql/$major/bin/pg_config
quietly "make install" inside make -C /src COPT=-Werror PG_CONFIG="$config" install
say "ok    build and install on $(inside "$config" --version)"
regress
exttest "${@:2}"
