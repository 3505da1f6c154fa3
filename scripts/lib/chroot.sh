# shellcheck shell=bash
# Chroots of Debian suites that have another PostgreSQL than this machine, made once under DEV_DIR. Wants base.sh.
#
# chroot_for MAJOR sets MAJOR, SUITE and CHROOT (the directory). Whatever a script mounts in it goes with the script: own_mounts.

DEV_DIR=${DEV_DIR:-.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac

# The mirror that this machine's apt uses.
# shellcheck disable=SC2016 # for apt-get to expand
MIRROR=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/*$' || true)}

# chroot_for MAJOR: fails when no suite that we know has it.
chroot_for() {
	MAJOR=$1 EXTRA_SUITE=''
	case $MAJOR in
	15) SUITE=bookworm SUITE_SCRIPT=bookworm ;;
	17) SUITE=trixie SUITE_SCRIPT=trixie ;;
	18) SUITE=forky SUITE_SCRIPT=sid ;;
	19) SUITE=sid SUITE_SCRIPT=sid EXTRA_SUITE=experimental ;;
	*) return 1 ;;
	esac
	CHROOT=$DEV_DIR/chroot-pg$MAJOR
}

# no_chroot: prints why no chroot can be made here; fails when one can.
no_chroot() {
	if [ -z "$MIRROR" ]; then
		say "apt knows no Debian mirror; set DEBIAN_MIRROR"
	elif ! is_root; then
		say "a chroot needs root"
	elif ! command -v debootstrap >/dev/null; then
		say "debootstrap is not installed"
	elif ! unshare --mount true 2>/dev/null; then
		say "no mount namespace can be made"
	else
		return 1
	fi
}

# own_mounts SCRIPT ARGUMENTS...: starts the script again in a mount namespace of its own, unless that has been done. What
# the script calls makes its own again.
own_mounts() {
	if [ "${HV_OWN_MOUNTS:-}" = 1 ]; then
		unset HV_OWN_MOUNTS
		return
	fi
	HV_OWN_MOUNTS=1 exec unshare --mount --propagation private -- "$@"
}

# inside [NAME=VALUE...] COMMAND...
inside() { chroot "$CHROOT" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8 "$@"; }

mount_proc() { mountpoint -q "$CHROOT/proc" || mount --bind /proc "$CHROOT/proc"; }

# mount_root: the chroot is a mount, so that tests in there may make mounts of their own; with /proc.
mount_root() {
	mountpoint -q "$CHROOT" || mount --bind "$CHROOT" "$CHROOT"
	mount_proc
}

# unmount_below DIRECTORY: everything that is mounted in there, so that rm does not go into it.
unmount_below() {
	local point
	while read -r point; do umount -l "$point" 2>/dev/null || true; done < <(awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
}

# quiet_root: in there no package makes a cluster or starts a service.
quiet_root() {
	mkdir -p "$CHROOT/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$CHROOT/etc/postgresql-common/createcluster.conf"
	printf '#!/bin/sh\nexit 101\n' >"$CHROOT/usr/sbin/policy-rc.d" && chmod 755 "$CHROOT/usr/sbin/policy-rc.d"
}

# chroot_apt PACKAGES...: installs them in there.
chroot_apt() {
	# A mirror may lag behind what its lists are valid for.
	inside apt-get -o Acquire::Check-Valid-Until=false update -q &&
		inside DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# make_chroot: of the last chroot_for; with the server, its headers, a C compiler, and what some tests are skipped without.
make_chroot() {
	mkdir -p "$(dirname "$CHROOT")"
	if [ ! -e "$CHROOT/.complete" ]; then
		rm -rf "$CHROOT"
		mkdir -p "$CHROOT"
		debootstrap --variant=minbase "$SUITE" "$CHROOT" "$MIRROR" "/usr/share/debootstrap/scripts/$SUITE_SCRIPT" || return 1
		if [ -n "$EXTRA_SUITE" ]; then # for this PostgreSQL alone
			echo "deb $MIRROR $EXTRA_SUITE main" >"$CHROOT/etc/apt/sources.list.d/$EXTRA_SUITE.list"
			printf 'Package: postgresql*-%s libpq*\nPin: release a=%s\nPin-Priority: 900\n' "$MAJOR" "$EXTRA_SUITE" >"$CHROOT/etc/apt/preferences.d/$EXTRA_SUITE"
		fi
		mount_root
		quiet_root
		chroot_apt "postgresql-$MAJOR" "postgresql-server-dev-$MAJOR" gcc make libc6-dev curl pgbouncer || return 1
		chroot_apt "postgresql-$MAJOR-pgaudit" || say "$SUITE has no pgaudit for PostgreSQL $MAJOR"
		touch "$CHROOT/.complete"
	fi
	mount_root
}

# copy_tree DIRECTORY: the repository without what was built, with the times.
copy_tree() {
	rm -rf "$1"
	mkdir -p "$1"
	(cd "$ROOT" && tar c --exclude=./.git --exclude=./.dev --exclude='*.o' --exclude=./hyperion_vault.so .) | tar x -C "$1"
	chown -R "$(id -u):$(id -g)" "$1"
}
