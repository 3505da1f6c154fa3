#!/usr/bin/env bash
# Runs "From source" and "By hand" of docs/INSTALL.md as they are printed, in a fresh Debian root with a PostgreSQL of
# its own and no systemd, and uses what comes of it. Without root or debootstrap it says why it does nothing.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
# shellcheck source=../scripts/lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"

skip() {
	say "SKIP  docs/INSTALL.md from source and by hand: $*"
	exit 0
}
! reason=$(no_chroot) || skip "$reason"
command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is not installed (systemd-container)"
own_mounts "$0" "$@"

WORK=$(mktemp -d "${TMPDIR:-/tmp}/hv-source.XXXXXX")
finish() {
	local rc=$?
	unmount_below "$WORK"
	rm -rf --one-file-system "$WORK"
	exit "$rc"
}
trap finish EXIT

# fresh_root: CHROOT becomes a copy of that of PostgreSQL 15, with sudo.
fresh_root() {
	chroot_for 15
	make_chroot || return 1
	inside sh -c 'command -v sudo' >/dev/null || chroot_apt sudo || return 1
	umount -l "$CHROOT/proc"
	cp -a --one-file-system "$CHROOT" "$WORK/root"
	CHROOT=$WORK/root
	rm -rf "$CHROOT/src" "$CHROOT/build"
	copy_tree "$CHROOT/root/hyperion-vault"
	cp "$ROOT/packaging/test-source-inside.sh" "$CHROOT/root/"
}

find_go
cache=$DEV_DIR/deb/gocache-bookworm
mkdir -p "$cache" "$DEV_DIR"
quietly "the fresh root" fresh_root
# A network of its own, without a way out, and one process that ends all others.
systemd-nspawn -q -D "$CHROOT" --machine="hv-source-$$" --as-pid2 --register=no --keep-unit --private-network --link-journal=no \
	--bind-ro="$("$GO" env GOROOT):/usr/local/go" --bind-ro="$("$GO" env GOMODCACHE):/var/go/mod" --bind="$cache:/var/go/cache" \
	--setenv=GOMODCACHE=/var/go/mod --setenv=GOCACHE=/var/go/cache --setenv=GOFLAGS=-mod=mod --setenv=GOPROXY=off \
	/root/test-source-inside.sh </dev/null
