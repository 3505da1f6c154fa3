#!/usr/bin/env bash
# Judges the packages that deb.sh left in DEB_DIR with lintian: no error, no warning. And the package of the extension
# wants the server that it was built for, or a later one.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
DEV_DIR=${DEV_DIR:-$ROOT/.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac
command -v lintian >/dev/null || die "lintian is missing" "scripts/deps.sh test installs it"
lintian --profile debian --allow-root --fail-on error,warning "${DEB_DIR:-$DEV_DIR/deb}"/*/*.deb
for deb in "${DEB_DIR:-$DEV_DIR/deb}"/*/postgresql-*-hyperion-vault_*.deb; do
	package=$(dpkg-deb -f "$deb" Package)
	server=${package%-hyperion-vault}
	dpkg-deb -f "$deb" Depends | grep -qE "(^|, )$server \(>= ${server#postgresql-}[.~][0-9a-z]+\)(,|$)" ||
		die "$deb depends on no minor version of $server: $(dpkg-deb -f "$deb" Depends)"
done
say "ok    lintian"
