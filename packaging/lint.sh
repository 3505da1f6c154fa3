#!/usr/bin/env bash
# Judges the packages that deb.sh left in DEB_DIR with lintian: no error, no warning.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
DEV_DIR=${DEV_DIR:-$ROOT/.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac
command -v lintian >/dev/null || die "lintian is missing" "scripts/deps.sh test installs it"
lintian --profile debian --allow-root --fail-on error,warning "${DEB_DIR:-$DEV_DIR/deb}"/*/*.deb
say "ok    lintian"
