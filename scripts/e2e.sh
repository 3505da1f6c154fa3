#!/usr/bin/env bash
# End-to-end tests: the three nodes of docker/docker-compose.yml, first with the packages of the newest version that
# packaging/releases names, upgraded under load to those of this tree, then used and broken (api/clustertest,
# TestContainers). The tests run in a container of their own. Everything but images is removed afterwards.
#
# HV_E2E_OLD and HV_E2E_NEW are directories of packages to use in place of those versions. Without a Docker engine,
# Compose or a base image it says so and does nothing. HV_E2E_RUN is a pattern of the tests to run (-test.run).
# HV_E2E_KEEP=1 leaves the containers running.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/images.sh
. "$ROOT/scripts/lib/images.sh"
# shellcheck source=lib/composedocs.sh
. "$ROOT/scripts/lib/composedocs.sh"

skip() {
	say "SKIP  end-to-end tests: $*"
	exit 0
}
docker_answers || skip "no Docker engine answers"
find_compose || skip "neither docker compose nor docker-compose is installed"
BASE_SUITE=bookworm
reason=$(find_base 2>&1) || skip "no base image: ${reason#error: }"
find_base
export BASE_IMAGE

WORK=$(mktemp -d /tmp/hv-e2e.XXXXXX)
LOGS=${HV_E2E_LOGS:-$WORK/logs}
mkdir -p "$LOGS"
export COMPOSE_PROJECT_NAME=hv-e2e-$$
compose() {
	"${COMPOSE[@]}" --env-file "$WORK/env" -f "$ROOT/docker/docker-compose.yml" -f "$ROOT/docker/docker-compose.e2e.yml" "$@"
}

# finish: on a failure what every container has printed is shown in part and kept as a whole.
finish() {
	local rc=$?
	set +e
	if [ -f "$WORK/env" ]; then
		if [ "$rc" != 0 ]; then
			for id in $(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"); do
				name=$(docker inspect --format '{{ index .Config.Labels "com.docker.compose.service" }}' "$id")
				docker logs -t "$id" >"$LOGS/$name.log" 2>&1
				say "---- the end of $name's log ----"
				tail -n 40 "$LOGS/$name.log" | cut -c1-400
			done
			docker cp "$COMPOSE_PROJECT_NAME-runner:/artifacts" "$LOGS/artifacts" >/dev/null 2>&1
			say "logs and histories are kept in $LOGS"
		fi
		if [ "${HV_E2E_KEEP:-}" != 1 ]; then
			docker rm -f "$COMPOSE_PROJECT_NAME-runner" >/dev/null 2>&1
			compose down -v --remove-orphans >"$WORK/down.log" 2>&1 || { cat "$WORK/down.log" && rc=1; }
		fi
	fi
	if [ "$rc" = 0 ] && [ "${HV_E2E_KEEP:-}" != 1 ]; then rm -rf "$WORK"; else rm -rf "$WORK"/old "$WORK"/*.test; fi
	exit "$rc"
}
trap finish EXIT

# new_images: of this tree.
new_images() {
	if [ -n "${HV_E2E_NEW:-}" ]; then
		"$ROOT/scripts/images.sh" build "$HV_E2E_NEW" e2e-new
		return
	fi
	DEB_DIR=$WORK/debs MAJORS=15 quietly "make deb" "$ROOT/packaging/deb.sh"
	"$ROOT/scripts/images.sh" build "$WORK/debs/$BASE_SUITE" e2e-new
}

# old_images: of the newest release, kept by its commit and by what else goes into them.
old_images() {
	local version commit key
	read -r version commit < <(grep -vE '^(#|$)' "$ROOT/packaging/releases" | tail -n1 || true) || true
	if [ -n "${HV_E2E_OLD:-}" ]; then
		version=given commit=$(cat "$HV_E2E_OLD"/*.deb | sha256sum)
		mkdir "$WORK/olddebs"
		cp -r "$HV_E2E_OLD" "$WORK/olddebs/$BASE_SUITE"
	elif [ -z "${commit:-}" ]; then
		say "SKIP  upgrade from the previous version: packaging/releases names none"
		OLD=e2e-new LEAVE_OUT='^TestContainers$/^Upgrade$'
		return
	fi
	key=$(cat <(find "$ROOT/docker/node" "$ROOT/docker/Dockerfile" -type f | sort | xargs cat) <(echo "$commit $BASE_IMAGE") | sha256sum | cut -c1-12)
	OLD=e2e-$version-$key
	have_image "hyperion-vault-node:$OLD" && have_image "hyperion-vault-api:$OLD" && have_image "hyperion-vault-etcd:$OLD" && return
	if [ ! -d "$WORK/olddebs" ]; then
		mkdir "$WORK/old"
		git -C "$ROOT" archive "$commit" | tar x -C "$WORK/old" || die "commit $commit of packaging/releases is not in this clone" "git fetch --unshallow"
		DEV_DIR=$WORK/old/.dev DEB_DIR=$WORK/olddebs MAJORS=15 quietly "make deb of $version" "$WORK/old/packaging/deb.sh"
	fi
	REVISION=$commit "$ROOT/scripts/images.sh" build "$WORK/olddebs/$BASE_SUITE" "$OLD"
}

# rollback_image: this version's node with the previous version's API.
rollback_image() {
	printf 'FROM hyperion-vault-api:%s AS old\nFROM hyperion-vault-node:e2e-new\nCOPY --from=old /usr/bin/hyperion-vault-api /usr/bin/hyperion-vault-api\n' \
		"$OLD" >"$WORK/rollback"
	quietly "docker build (rollback)" docker build -q -t hyperion-vault-node:e2e-rollback - <"$WORK/rollback"
}

runner_image() {
	mkdir "$WORK/runner"
	(cd "$ROOT" && CGO_ENABLED=0 "$GO" test -c -o "$WORK/runner/clustertest.test" ./api/clustertest)
	quietly "docker build (runner)" docker build -q -t hyperion-vault-e2e:latest -f "$ROOT/docker/e2e/Dockerfile" \
		--build-arg BASE_IMAGE="$BASE_IMAGE" "$WORK/runner"
}

# settings: secrets of this run, and whatever ports are free.
settings() {
	(
		umask 077
		{
			echo "HV_VERSION=$OLD"
			echo "HV_PORT1=0" && echo "HV_PORT2=0" && echo "HV_PORT3=0"
			echo "VAULT_KMS_MODE=local"
			# With characters that mean something in YAML, in SQL, in connection strings, and to bash.
			for name in POSTGRES_PASSWORD REPLICATION_PASSWORD PATRONI_PASSWORD VAULT_PG_PASSWORD; do
				echo "$name=a&b'c\\d:$(random_secret 32)"
			done
			echo "VAULT_LOCAL_MASTER_KEY=$(random_secret 32)"
		} >"$WORK/env"
	)
	# The environment would win over the file.
	unset HV_VERSION HV_PUBLISH HV_PORT1 HV_PORT2 HV_PORT3 POSTGRES_PASSWORD REPLICATION_PASSWORD PATRONI_PASSWORD "${!VAULT_@}" "${!AWS_@}"
}

healthy() { [ "$(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter health=healthy | wc -l)" = 4 ]; }

# refuses_examples: the passwords of .env.example are for loopback alone.
refuses_examples() {
	local out name value
	for name in POSTGRES_PASSWORD VAULT_LOCAL_MASTER_KEY; do
		value=$(sed -n "s/^$name=//p" "$ROOT/docker/.env.example")
		if out=$(docker run --rm -e NODE_ETCD=none:1 -e NODE_PUBLISHED=0.0.0.0 -e VAULT_KMS_MODE=local -e POSTGRES_PASSWORD=a \
			-e REPLICATION_PASSWORD=b -e PATRONI_PASSWORD=c -e VAULT_PG_PASSWORD=d -e VAULT_LOCAL_MASTER_KEY=e -e "$name=$value" \
			hyperion-vault-node:e2e-new 2>&1) || [[ $out != "error: $name is the one of .env.example"* ]]; then
			die "the example's $name is not refused beyond loopback: $out"
		fi
	done
}

# api_image: small, not root, and it runs.
api_image() {
	local extra
	extra=$(($(docker image inspect -f '{{.Size}}' hyperion-vault-api:e2e-new) - $(docker image inspect -f '{{.Size}}' "$BASE_IMAGE")))
	[ "$extra" -le $((40 * 1000 * 1000)) ] || die "the API image has $extra bytes over its base, more than 40 MB"
	[ "$(docker image inspect -f '{{.Config.User}}' hyperion-vault-api:e2e-new)" = 8200:8200 ] || die "the API image runs as another user"
	docker run --rm hyperion-vault-api:e2e-new version | grep -q '^hyperion-vault-api ' || die "the API image does not run"
	say "E2E API image: $((extra / 1000 / 1000)) MB over its base"
}

start_cluster() {
	local started=$SECONDS
	quietly "compose up" compose up -d etcd node1 node2 node3
	wait_for 180 healthy || die "the nodes do not become healthy"
	say "E2E three nodes ready after $((SECONDS - started)) s"
}

# The host reaches the APIs by their published ports, and may read.
published() {
	local address n
	for n in 1 2 3; do
		address=$(compose port "node$n" 8200)
		[ "$(curl -sS -o /dev/null -w '%{http_code}' "http://$address/v1/secrets/e2e/none")" = 404 ] || die "node$n is not to be read from this machine"
	done
}

find_go
new_images
old_images
rollback_image
runner_image
api_image
refuses_examples
refuses_base
settings
documented_compose
start_cluster
published
address=$(compose port node1 8200)
refuses_settings
refuses_port "${address##*:}" || die "a port in use is not refused with its number"
token() { HV_E2E_TOKEN=$(compose exec -T node1 hyperion-vault-api token create e2e 2>"$WORK/token.log"); }
wait_for 60 token || die "no token can be made: $(cat "$WORK/token.log")"
export HV_E2E_TOKEN
compose run --name "$COMPOSE_PROJECT_NAME-runner" -T --no-deps runner -test.v -test.timeout 20m \
	-test.run "${HV_E2E_RUN:-^TestContainers\$}" -test.skip "${LEAVE_OUT:-^\$}" </dev/null
