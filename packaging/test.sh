#!/usr/bin/env bash
# Tries the packages of each PostgreSQL of MAJORS (15) as an administrator would: in a fresh root of the Debian suite
# that has it, from a signed repository served on loopback, by install.sh. Installs, uses, upgrades, removes and
# purges them. The upgrade is from the newest version that packaging/releases names. The packages are those that make
# deb has left; they are built when there are none. Without root or debootstrap it says why it does nothing.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
# shellcheck source=../scripts/lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"

MAJORS=${MAJORS:-15}
skip() {
	say "SKIP  packages for PostgreSQL $MAJORS: $*"
	exit 0
}
! reason=$(no_chroot) || skip "$reason"
command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is not installed (systemd-container)"
own_mounts "$0" "$@"

WORK=$(mktemp -d "${TMPDIR:-/tmp}/hv-packages.XXXXXX")
chmod 755 "$WORK"
server='' nspawn='' leader=''
finish() {
	local rc=$?
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	if [ -n "$leader" ]; then
		kill -KILL "$leader" 2>/dev/null || true
		wait "$nspawn" || true
	fi
	unmount_below "$WORK"
	rm -rf --one-file-system "$WORK"
	exit "$rc"
}
trap finish EXIT

# base_root: a tar file of SUITE with PostgreSQL's packages in apt's cache, made once.
base_root() {
	local security
	BASE=$DEV_DIR/root-$SUITE-pg$MAJOR.tar
	[ ! -s "$BASE" ] || return 0
	CHROOT=$WORK/root-base
	mkdir -p "$CHROOT"
	debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$CHROOT" "$MIRROR" "/usr/share/debootstrap/scripts/$SUITE_SCRIPT"
	mount_proc
	quiet_root
	# The mirror alone may lag behind what its lists are valid for: of the repository under test that is still checked.
	echo "deb [check-valid-until=no] $MIRROR $SUITE main" >"$CHROOT/etc/apt/sources.list"
	# Minor versions of PostgreSQL come by way of security.
	# shellcheck disable=SC2016 # for apt-get to expand
	security=${DEBIAN_SECURITY_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian-security/*$' || true)}
	case $SUITE in bookworm | trixie)
		[ -z "$security" ] || echo "deb [check-valid-until=no] $security $SUITE-security main" >"$CHROOT/etc/apt/sources.list.d/security.list"
		;;
	esac
	inside apt-get update -q
	inside DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -q
	inside apt-get install -y -q --no-install-recommends --download-only "postgresql-$MAJOR" systemd systemd-sysv dbus curl
	umount "$CHROOT/proc"
	tar c -C "$CHROOT" --one-file-system . >"$BASE.new"
	mv "$BASE.new" "$BASE"
	rm -rf "$CHROOT"
}

# older_packages: in OLDER/SUITE those of OLD_VERSION. They are the newest release's, built from its commit and kept,
# or, before the first release, this tree's under a lower version.
older_packages() {
	local version commit tree
	read -r version commit < <(grep -vE '^(#|$)' "$ROOT/packaging/releases" | tail -n 1) || true
	if [ -z "${commit:-}" ]; then
		OLDER=$WORK/older OLD_VERSION=0.0.9-1
		say "note  no version is released yet: the upgrade is from the same packages under a lower version"
		repacked
		return
	fi
	OLDER=$DEV_DIR/deb-previous/$commit
	if ! compgen -G "$OLDER/$SUITE/postgresql-$MAJOR-hyperion-vault_*.deb" >/dev/null; then
		tree=$WORK/previous
		mkdir -p "$tree"
		git -C "$ROOT" archive "$commit" 2>/dev/null | tar x -C "$tree" 2>/dev/null ||
			die "the commit of version $version, $commit, is not in this clone" "git fetch --unshallow"
		# With the chroots and caches of this tree.
		DEV_DIR=$DEV_DIR DEB_DIR=$OLDER MAJORS=$MAJOR quietly "make deb of version $version" "$tree/packaging/deb.sh"
	fi
	OLD_VERSION=$(dpkg-deb -f "$(compgen -G "$OLDER/$SUITE/hyperion-vault-api_*.deb")" Version)
}
repacked() {
	local deb tree=$WORK/repack
	rm -rf "$OLDER"
	mkdir -p "$OLDER/$SUITE"
	for deb in "$DEB_DIR/$SUITE"/*.deb; do
		case $deb in *-dbgsym_*) continue ;; esac
		rm -rf "$tree"
		dpkg-deb -R "$deb" "$tree"
		sed -i "s/^Version: .*/Version: $OLD_VERSION/" "$tree/DEBIAN/control"
		dpkg-deb -b "$tree" "$OLDER/$SUITE" >/dev/null
	done
	rm -rf "$tree"
}

publish() { DEB_DIR=$1 APT_REPO_DIR=$WORK/repo APT_REPO_URL=http://127.0.0.1:$port APT_SIGNING_KEY_FILE=$WORK/key.asc "$ROOT/packaging/apt-repo.sh"; }

# try MAJOR
try() {
	chroot_for "$1" || die "PostgreSQL $1: no suite is known to have it"
	compgen -G "$DEB_DIR/$SUITE/postgresql-$1-hyperion-vault_*.deb" >/dev/null || MAJORS=$1 "$ROOT/packaging/deb.sh"
	quietly "the base root of $SUITE" base_root
	rm -rf "$WORK/repo"
	older_packages
	publish "$OLDER" >/dev/null
	CHROOT=$WORK/root-$SUITE
	mkdir -p "$CHROOT"
	tar x -C "$CHROOT" -f "$BASE"
	mount_proc
	mkdir -p "$CHROOT/test"
	cp "$ROOT/packaging/test-inside.sh" "$ROOT/docs/INSTALL.md" "$WORK/repo/install.sh" "$CHROOT/test/"
	run_inside install
	boot
	run_inside use
	run_inside units
	power_off
	publish "$DEB_DIR" >/dev/null
	run_inside upgrade
	boot
	run_inside use_upgraded
	power_off
	run_inside remove
	umount -l "$CHROOT/proc"
	rm -rf --one-file-system "$CHROOT"
	say "ok    packages for PostgreSQL $1 on $SUITE"
}

# boot: systemd as the first process of the root, in a network of its own, so that its PostgreSQL and its API meet
# nothing of this machine. A service can be tried with its unit there.
boot() {
	umount -l "$CHROOT/proc"
	# CAP_IPC_LOCK: else nspawn, and no unit, forbids to lock memory.
	# A newer systemd boots with cgroup v2 alone, also where the machine has v1.
	SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn -q -D "$CHROOT" --boot --register=no --keep-unit --private-network --capability=CAP_IPC_LOCK --link-journal=no \
		--kill-signal=SIGRTMIN+3 </dev/null >"$WORK/boot.log" 2>&1 &
	nspawn=$!
	wait_for 60 booted || {
		cat "$WORK/boot.log"
		die "systemd does not boot in $CHROOT"
	}
}
booted() {
	leader=$(pgrep -P "$nspawn" | head -n 1)
	[ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null | grep -qE '^(running|degraded)$'
}
power_off() {
	kill -s RTMIN+3 "$leader"
	wait "$nspawn" || true
	nspawn='' leader=''
	mount_proc
}

# run_inside PART: in the booted system, or in a pid namespace of its own, so that nothing that it starts outlives it.
run_inside() {
	local in=(unshare --pid --fork --kill-child -- chroot "$CHROOT")
	[ -z "$leader" ] || in=(nsenter -t "$leader" -a --)
	"${in[@]}" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		/test/test-inside.sh "$1" "$MAJOR" "$OLD_VERSION"
}

DEB_DIR=${DEB_DIR:-$DEV_DIR/deb}
port=$(free_port 18900)
"$ROOT/packaging/throwaway-key.sh" >"$WORK/key.asc"
mkdir -p "$WORK/repo"
python3 -m http.server --bind 127.0.0.1 --directory "$WORK/repo" "$port" >"$WORK/http.log" 2>&1 &
server=$!
serves() { port_serves "$port"; }
wait_for 10 serves || die "no web server for the repository"
for major in $MAJORS; do try "$major"; done
