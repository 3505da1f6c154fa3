# shellcheck shell=bash
# What images are built from, and which Docker client. Wants base.sh.

# docker_answers: there is a client, and an engine that serves this user.
docker_answers() { command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; }

# find_compose: sets COMPOSE to the plugin or to the older program.
# shellcheck disable=SC2034 # for the caller
find_compose() {
	if docker compose version >/dev/null 2>&1; then
		COMPOSE=(docker compose)
	elif command -v docker-compose >/dev/null; then
		COMPOSE=(docker-compose)
	else
		return 1
	fi
}

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# find_base: sets BASE_IMAGE. A given one must be there or be pulled, and have apt. Without one it is
# debian:bookworm-slim, and where no registry is reachable an image of the same suite from this machine's Debian mirror.
find_base() {
	local own
	if [ -z "${BASE_IMAGE:-}" ]; then
		BASE_IMAGE=debian:$BASE_SUITE-slim
		own=hyperion-vault-base:$BASE_SUITE-$(date +%Y%m)
		if have_image "$BASE_IMAGE"; then
			:
		elif have_image "$own"; then
			BASE_IMAGE=$own
		elif ! timeout 60 docker pull -q "$BASE_IMAGE" >/dev/null 2>&1; then
			BASE_IMAGE=$own
			make_base
		fi
	fi
	have_image "$BASE_IMAGE" || quietly "docker pull $BASE_IMAGE" docker pull -q "$BASE_IMAGE"
	docker run --rm --entrypoint apt-get "$BASE_IMAGE" --version >/dev/null 2>&1 ||
		die "the base image $BASE_IMAGE has no apt-get" "BASE_IMAGE must be a Debian or Ubuntu image, such as debian:$BASE_SUITE-slim"
}

# suite_sources prints the apt sources that this machine has of the suite. They include its security updates, against
# which a package is built.
# shellcheck disable=SC2016 # for apt-get to expand
suite_sources() {
	apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE)' |
		awk -v suite="$BASE_SUITE" '$1 == "Packages" && ($3 == suite || index($3, suite "-") == 1) && !seen[$2, $3]++ {
			print "deb", $2, $3, "main" }' | grep . || echo "deb $mirror $BASE_SUITE main"
}

# make_base: BASE_IMAGE, by debootstrap.
make_base() {
	local dir mirror
	{ is_root && command -v debootstrap >/dev/null; } ||
		die "debian:$BASE_SUITE-slim cannot be pulled" \
			"load it into Docker, set BASE_IMAGE, or run this as root with debootstrap installed"
	# shellcheck disable=SC2016 # for apt-get to expand
	mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/*$' || true)}
	[ -n "$mirror" ] || die "apt knows no Debian mirror" "set DEBIAN_MIRROR"
	dir=$(mktemp -d /var/tmp/hv-base.XXXXXX)
	if ! (quietly "debootstrap $BASE_SUITE" debootstrap --variant=minbase "$BASE_SUITE" "$dir" "$mirror" &&
		suite_sources >"$dir/etc/apt/sources.list" &&
		rm -rf "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/* "$dir"/usr/share/{doc,man,locale}/* &&
		tar -C "$dir" -c . | docker import - "$BASE_IMAGE" >/dev/null); then
		rm -rf "$dir"
		die "the base image could not be made" "see above"
	fi
	rm -rf "$dir"
}
