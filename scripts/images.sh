#!/usr/bin/env bash
# Builds the images hyperion-vault-node, hyperion-vault-api and hyperion-vault-etcd, with the version and "latest" as
# tags. What they are built from:
#   BASE_IMAGE   a Debian image (debian:bookworm-slim; where no registry is reachable, one made by debootstrap)
#   APT_OPTIONS  options of apt-get in the build, as for a mirror that lags behind; they stand in the images' history
# "images.sh build DIR TAG" builds them from the packages in DIR: the end-to-end tests use that for an older version.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/images.sh
. "$ROOT/scripts/lib/images.sh"

BASE_SUITE=${BASE_SUITE:-bookworm}
pg_major() { "$PG_CONFIG" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

# image TARGET NAME CONTEXT
image() {
	local rev
	rev=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)
	quietly "docker build ($2)" docker build --target "$1" -t "$2" -f "$ROOT/docker/Dockerfile" \
		--build-arg BASE_IMAGE="$BASE_IMAGE" --build-arg APT_OPTIONS="${APT_OPTIONS:-}" --build-arg PG_MAJOR="$(pg_major)" \
		--build-arg VERSION="$VERSION" --build-arg REVISION="${REVISION:-$rev}" "$3"
}

# build DIR TAG
build() {
	local context major
	major=$(pg_major)
	context=$(mktemp -d)
	mkdir -p "$context/state/audit" "$context/packages"
	cp "$1/postgresql-$major-hyperion-vault_"*.deb "$1"/hyperion-vault-api_*.deb "$context/packages/"
	dpkg-deb -x "$1"/hyperion-vault-api_*.deb "$context/unpacked"
	cp "$context/unpacked/usr/bin/hyperion-vault-api" "$context/hyperion-vault-api"
	rm -rf "$context/unpacked"
	cp -r "$ROOT/docker/node" "$context/node"
	chmod -R u=rwX,go=rX "$context"
	find "$context" -exec touch -h -d @0 {} + # the build's cache goes by content
	(image node "hyperion-vault-node:$2" "$context" && image api "hyperion-vault-api:$2" "$context" &&
		image etcd "hyperion-vault-etcd:$2" "$context") || { rm -rf "$context" && exit 1; }
	rm -rf "$context"
}

# As in the chroots of other suites: a mirror may lag behind what its lists are valid for.
use_mirror() {
	case $BASE_IMAGE in hyperion-vault-base:*) APT_OPTIONS=${APT_OPTIONS:--o Acquire::Check-Valid-Until=false} ;; esac
}

docker_answers || die "no Docker engine answers" "start it, or let this user into the group docker"
find_base
use_mirror
VERSION=$(make -s -C "$ROOT" print-version)
case ${1:-} in
build) build "$2" "$3" ;;
"")
	packages=$(mktemp -d)
	trap 'rm -rf "$packages"' EXIT
	quietly "make deb" env DEB_DIR="$packages" MAJORS="$(pg_major)" "$ROOT/packaging/deb.sh"
	build "$packages/$BASE_SUITE" "$VERSION"
	for name in node api etcd; do
		docker tag "hyperion-vault-$name:$VERSION" "hyperion-vault-$name:latest"
		say "hyperion-vault-$name:$VERSION"
	done
	;;
*) die "want no argument, or build DIR TAG" ;;
esac
