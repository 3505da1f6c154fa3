#!/usr/bin/env bash
# Builds the packages of MAJORS twice, with another directory, another umask, locale and time zone, and an empty cache of
# Go's the second time, and compares them byte by byte.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
DEV_DIR=${DEV_DIR:-$ROOT/.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac
mkdir -p "$DEV_DIR"
work=$(mktemp -d "$DEV_DIR/reproducible.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
DEB_DIR=$work/one "$ROOT/packaging/deb.sh" >/dev/null
(
	umask 027
	mkdir -p "$work/other/go"
	TMPDIR="$work/other" GOCACHE="$work/other/go" TZ=Asia/Kathmandu LC_ALL=C.UTF-8 BUILD_DIR=$work/elsewhere DEB_DIR=$work/two \
		"$ROOT/packaging/deb.sh" >/dev/null
)
[ "$(cd "$work/one" && find . -name '*.deb' | wc -l)" -ge 2 ] || die "there is nothing to compare"
diff -r "$work/one" "$work/two" || die "the packages differ between two builds" "diffoscope shows where: unpack them with dpkg-deb -R"
say "ok    built twice, the same: $(cd "$work/one" && find . -name '*.deb' -printf '%f ' | sed 's/ $//')"
