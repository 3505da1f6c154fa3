#!/usr/bin/env bash
# Builds the Debian packages: postgresql-NN-hyperion-vault for each PostgreSQL of MAJORS, and hyperion-vault-api. They
# lie in DEB_DIR/SUITE (DEV_DIR/deb/bookworm, say) afterwards.
#
# MAJORS is those whose headers this machine has. Another one is built in the chroot of the suite that has it
# (scripts/lib/chroot.sh: root, debootstrap). Nothing comes from the network while building: the modules are those that
# "make deps" fetched. DEB_VERSION replaces the version of debian/changelog.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
# shellcheck source=../scripts/lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"

DEB_DIR=${DEB_DIR:-$DEV_DIR/deb}
case $DEB_DIR in /*) ;; *) DEB_DIR=$PWD/$DEB_DIR ;; esac
case "$(uname -m)" in x86_64 | aarch64) ;; *) die "packages are built on amd64 and arm64 only, this is $(uname -m)" ;; esac

# native_majors: those whose headers are here.
native_majors() {
	local header
	for header in /usr/include/postgresql/*/server/postgres.h; do
		[ ! -f "$header" ] || basename "${header%/server/postgres.h}"
	done | sort -n
}

# suite_suffix ROOT: what the version of a package ends in, so that a newer suite's is newer. Ends up in SUFFIX; NAME is
# the suite's code name.
suite_suffix() {
	# shellcheck source=/dev/null
	NAME=$(. "$1/etc/os-release" && echo "${VERSION_CODENAME:-$ID}")
	# shellcheck source=/dev/null
	SUFFIX=$(. "$1/etc/os-release" && echo "~${ID/debian/deb}${VERSION_ID:-$VERSION_CODENAME}")
}

# prepare TREE MAJORS...: the control file, and the suite's version in the changelog.
prepare() {
	local tree=$1 version
	shift
	version=${DEB_VERSION:-$(dpkg-parsechangelog -l "$ROOT/debian/changelog" -S Version)}
	sed "1s/(.*) [a-z]*;/($version$SUFFIX) $NAME;/" "$ROOT/debian/changelog" >"$tree/debian/changelog"
	printf '%s\n' "$@" >"$tree/debian/pgversions"
	awk -v majors="$*" -v RS= '
		{ n = /\nDepends:.*postgresql:Depends/ ? split(majors, m, " ") : 1
		  for (i = 1; i <= n; i++) { text = $0; gsub(/PGVERSION/, m[i], text); print text "\n" } }' \
		"$tree/debian/control.in" >"$tree/debian/control"
}

# build_here TREE MAJORS...: with this machine's compiler. Without a network where that can be had.
build_here() {
	local tree=$1 alone=()
	shift
	! unshare --net true 2>/dev/null || alone=(unshare --net --)
	# -d: Debian's own Go is too old, so the build dependency on it is not met by a package.
	(cd "$tree" && PG_SUPPORTED_VERSIONS="$*" "${alone[@]}" dpkg-buildpackage -b -d -us -uc)
}

# build_inside MAJOR: in CHROOT, with this machine's Go and module cache.
build_inside() {
	local cache=$DEV_DIR/deb/gocache-$SUITE
	if ! inside sh -c 'command -v dpkg-buildpackage dh pg_buildext' >/dev/null; then
		chroot_apt build-essential debhelper postgresql-server-dev-all || return 1
	fi
	mkdir -p "$cache" "$CHROOT"/usr/local/go "$CHROOT"/var/go/{mod,cache}
	mount --bind -o ro "$("$GO" env GOROOT)" "$CHROOT/usr/local/go"
	mount --bind -o ro "$("$GO" env GOMODCACHE)" "$CHROOT/var/go/mod"
	mount --bind "$cache" "$CHROOT/var/go/cache"
	# shellcheck disable=SC2016 # the inner shell expands
	inside GO=/usr/local/go/bin/go GOMODCACHE=/var/go/mod GOCACHE=/var/go/cache GOFLAGS="$GOFLAGS" PG_SUPPORTED_VERSIONS="$1" \
		unshare --net -- sh -c 'cd "$0" && dpkg-buildpackage -b -d -us -uc' "${tree#"$CHROOT"}"
}

# collect DIRECTORY: what was built, into DEB_DIR/NAME, in place of an older version.
collect() {
	local out=$DEB_DIR/$NAME deb package
	mkdir -p "$out"
	for deb in "$1"/*.deb; do
		package=$(dpkg-deb -f "$deb" Package)
		rm -f "$out/$package"_*.deb
		mv "$deb" "$out/"
		case $package in *-dbgsym) ;; *) say "$out/$(basename "$deb")" ;; esac
	done
}

# package MAJORS...: native where their headers are here, else one in its chroot.
package_native() {
	local work
	suite_suffix /
	work=$(mktemp -d "${BUILD_DIR:-$DEV_DIR/deb}/build.XXXXXX")
	tree=$work/hyperion-vault
	copy_tree "$tree"
	prepare "$tree" "$@"
	quietly "dpkg-buildpackage for PostgreSQL $*" build_here "$tree" "$@"
	collect "$work"
	rm -rf "$work"
}
package_in_chroot() {
	local reason
	! reason=$(no_chroot) || die "no packages for PostgreSQL $1: its headers are not here, and $reason"
	quietly "the chroot for PostgreSQL $1" make_chroot
	suite_suffix "$CHROOT"
	tree=$CHROOT/build/hyperion-vault
	rm -rf "$CHROOT/build"
	copy_tree "$tree"
	prepare "$tree" "$1"
	quietly "dpkg-buildpackage for PostgreSQL $1" build_inside "$1"
	collect "$CHROOT/build"
	rm -rf "$CHROOT/build"
}

read -r -a majors <<<"${MAJORS:-$(native_majors | tr '\n' ' ')}"
[ ${#majors[@]} -gt 0 ] || die "no PostgreSQL with its headers is here" "make deps installs one; or name others: make deb MAJORS='17 18'"
here=() elsewhere=()
for major in "${majors[@]}"; do
	if [ -f "/usr/include/postgresql/$major/server/postgres.h" ]; then
		here+=("$major")
	elif chroot_for "$major"; then
		elsewhere+=("$major")
	else
		die "PostgreSQL $major is not supported: its headers are not here, and no suite of Debian is known to have it" \
			"supported are 15 and newer; install postgresql-server-dev-$major to build for it"
	fi
	[ "$major" -ge 15 ] || die "PostgreSQL $major is not supported" "HyperionDB Vault needs 15 or newer"
done
[ ${#elsewhere[@]} = 0 ] || own_mounts "$0" "$@"
for tool in dpkg-buildpackage dh pg_buildext fakeroot; do
	command -v "$tool" >/dev/null || die "$tool is missing" "scripts/deps.sh deb installs what building packages needs"
done
find_go
mkdir -p "$DEV_DIR/deb" "${BUILD_DIR:-$DEV_DIR/deb}"
export GOFLAGS=${GOFLAGS:--buildvcs=false} GOMODCACHE GOCACHE
GOMODCACHE=$("$GO" env GOMODCACHE) GOCACHE=$("$GO" env GOCACHE)
[ ${#here[@]} = 0 ] || package_native "${here[@]}"
for major in "${elsewhere[@]}"; do
	chroot_for "$major"
	package_in_chroot "$major"
done
