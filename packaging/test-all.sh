#!/usr/bin/env bash
# Everything about the packages, for PostgreSQL 15, 17 and 18: what is refused, the commands of docs/INSTALL.md, lintian,
# two builds of the same bytes, and each package in a fresh root of its suite. A version that cannot be tried here is
# skipped with the reason.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
# shellcheck source=../scripts/lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"
MAJORS=${MAJORS:-15 17 18}
none=$(no_chroot) || none=''
[ -n "$none" ] || own_mounts "$0" "$@"

# usable MAJOR: its packages can be built here. Says why not.
usable() {
	chroot_for "$1" || die "PostgreSQL $1: no suite is known to have it"
	[ ! -f "/usr/include/postgresql/$1/server/postgres.h" ] || return 0
	if [ -n "$none" ]; then
		say "SKIP  packages for PostgreSQL $1: its headers are not here, and $none"
	elif ! make_chroot >"$CHROOT.log" 2>&1; then
		say "SKIP  packages for PostgreSQL $1: no chroot of $SUITE could be made; see $CHROOT.log"
	else
		return 0
	fi
	return 1
}
mkdir -p "$DEV_DIR"
majors=''
for major in $MAJORS; do ! usable "$major" || majors+=" $major"; done
[ -n "$majors" ] || exit 0
export MAJORS=${majors# }

"$ROOT/packaging/test-refusals.sh"
"$ROOT/packaging/test-make.sh"
"$ROOT/packaging/test-source.sh"
"$ROOT/packaging/deb.sh"
"$ROOT/packaging/lint.sh"
"$ROOT/packaging/reproducible.sh"
"$ROOT/packaging/test.sh"
