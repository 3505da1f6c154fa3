#!/usr/bin/env bash
# Builds the packages of MAJORS again, in another directory and with another umask and time zone, and compares them byte
# by byte: reproducible.sh [warm]. It builds twice, with an empty cache of Go's the second time. "warm" compares
# what make deb has left in DEB_DIR with one more build, which uses the same cache.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
DEV_DIR=${DEV_DIR:-$ROOT/.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac
mkdir -p "$DEV_DIR"
work=$(mktemp -d "$DEV_DIR/reproducible.XXXXXX")
finish() {
	local rc=$?
	chmod -R u+w "$work"
	if [ "$rc" = 0 ]; then rm -rf "$work"; else say "what was built is kept in $work"; fi
	exit "$rc"
}
trap finish EXIT

# again: the other build, into two/.
again() {
	umask 027
	mkdir -p "$work/other/go"
	TMPDIR=$work/other TZ=Asia/Kathmandu LC_ALL=C BUILD_DIR=$work/elsewhere DEB_DIR=$work/two "$@" "$ROOT/packaging/deb.sh" >/dev/null
}
if [ "${1:-}" = warm ]; then
	first=${DEB_DIR:-$DEV_DIR/deb}
	(again env)
else
	first=$work/one
	DEB_DIR=$first "$ROOT/packaging/deb.sh" >/dev/null
	(again env GOCACHE="$work/other/go")
fi
compared=0
while read -r deb; do
	cmp "$first/$deb" "$work/two/$deb" || die "two builds of $deb differ" "diffoscope shows where; or unpack both with dpkg-deb -R"
	compared=$((compared + 1))
done < <(cd "$work/two" && find . -name '*.deb')
[ "$compared" -ge 2 ] || die "there is nothing to compare"
say "ok    $compared packages are the same when they are built again"
