# shellcheck shell=bash
# The parts of the end-to-end tests that run the commands of docs/INSTALL.md for Compose, and what Compose and images
# refuse. Wants base.sh and images.sh, WORK and COMPOSE.

# compose_block HEADING N: the Nth shell block under a heading of docs/INSTALL.md.
compose_block() {
	awk -v heading="$1" -v want="$2" '
		/^##/ { here = $0 == heading }
		/^```$/ { inside = 0 }
		inside && n == want
		here && /^```sh$/ { n++; inside = 1 }' "$ROOT/docs/INSTALL.md" | grep . || die "docs/INSTALL.md has no shell block $2 under $1"
}

# documented_compose: the blocks as they are printed, one after the other in one shell, with the images of this tree under
# another tag, ports that are free, and whichever Compose there is.
documented_compose() {
	local tree=$WORK/documented rc=0 one two three
	mkdir "$tree"
	(cd "$ROOT" && tar c --exclude=docker/.env --exclude=docker/secrets docker) | tar x -C "$tree"
	one=$(free_port 28200) && two=$(free_port $((one + 1))) && three=$(free_port $((two + 1)))
	documented_script | sed "s/8200/$one/g; s/8201/$two/g; s/8202/$three/g" >"$tree/script"
	local in=(env -C "$tree" COMPOSE_PROJECT_NAME="$COMPOSE_PROJECT_NAME-docs" HV_VERSION=e2e-new HV_PORT1="$one" HV_PORT2="$two" HV_PORT3="$three")
	(quietly "docs/INSTALL.md, Docker Compose" "${in[@]}" timeout 600 bash -euxo pipefail script) || rc=$?
	"${in[@]}" "${COMPOSE[@]}" -f docker/docker-compose.yml down -v --remove-orphans >"$WORK/down-docs.log" 2>&1 || { cat "$WORK/down-docs.log" && rc=1; }
	[ "$rc" = 0 ] || exit "$rc"
	say "E2E the commands of docs/INSTALL.md for Compose"
}
documented_script() {
	# "make images" was made under the other tag.
	printf '%s\n' 'make() { [ "$*" = images ]; }' \
		"docker() { if [ \"\$1\" = compose ]; then ${COMPOSE[*]@Q} \"\${@:2}\"; else command docker \"\$@\"; fi; }"
	compose_block "## Docker Compose" 1 | sed '$s/$/ | grep -F s3cr3t/' # the last line reads what the first node stored
	compose_block "### Upgrading" 1
	# "Leave their lines in .env empty."
	printf '%s\n' 'docker compose down -v' "sed -i -E 's/^([A-Z_]*(PASSWORD|MASTER_KEY))=.*/\\1=/' .env"
	compose_block "### Settings" 1
	printf '%s\n' 'until curl -fso /dev/null localhost:8200/readyz; do sleep 1; done'
}

# refuses_base: a base image without apt.
refuses_base() {
	local out
	tar c --files-from /dev/null | docker import - hyperion-vault-e2e-empty >/dev/null
	if out=$(BASE_IMAGE=hyperion-vault-e2e-empty "$ROOT/scripts/images.sh" build "$WORK" none 2>&1) ||
		[[ $out != "error: the base image hyperion-vault-e2e-empty has no apt-get"*hint:* ]]; then
		die "a base image without apt is not refused: $out"
	fi
	docker image rm hyperion-vault-e2e-empty >/dev/null
}

# refuses_port PORT: that is in use.
refuses_port() {
	local out
	if out=$(HV_PORT1=$1 COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME-port compose up -d --no-deps node1 2>&1) || [[ $out != *":$1 failed: port is already allocated"* ]]; then
		say "Compose with the port $1, which is in use: $out"
		return 1
	fi
	COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME-port compose down -v >/dev/null 2>&1
}

# refuses_settings: Compose starts nothing with a wrong setting, and the service "settings" says which one it is.
refuses_settings() {
	local setting says out master
	master=$(sed -n 's/^VAULT_LOCAL_MASTER_KEY=//p' "$ROOT/docker/.env.example")
	while IFS='|' read -r setting says; do
		if out=$(in_vain "$setting" up -d 2>&1); then die "Compose starts with $setting"; fi
		[ -z "$(in_vain "$setting" ps -q node1 etcd)" ] || die "Compose starts containers with $setting: $out"
		out=$(in_vain "$setting" run --rm settings 2>&1) && die "the service settings accepts $setting"
		[[ $out == *"error: $says"*hint:* ]] || die "with $setting the service settings does not say \"$says\" but: $out"
		in_vain "$setting" down -v >/dev/null 2>&1
	done <<-END
		HV_PUBLISH=0.0.0.0 VAULT_LOCAL_MASTER_KEY=$master|VAULT_LOCAL_MASTER_KEY is the one of .env.example, and the API is published on 0.0.0.0
		HV_PUBLISH=0.0.0.0 POSTGRES_PASSWORD=example-superuser|POSTGRES_PASSWORD is the one of .env.example
		PATRONI_PASSWORD=|PATRONI_PASSWORD is not set
		VAULT_ALLOWED_IPS=10.0.0.300|VAULT_ALLOWED_IPS="10.0.0.300": want
		VAULT_LOG_LEVEL=chatty|VAULT_LOG_LEVEL="chatty": want
		VAULT_LOCAL_MASTER_KEY=abc|VAULT_LOCAL_MASTER_KEY (value not shown): want base64
	END
	say "E2E Compose refuses wrong settings"
}

# in_vain "SETTING=..." COMMAND...: Compose with these settings in place of the run's, as a project of its own.
in_vain() {
	local settings=$1 setting
	shift
	(
		umask 077
		cat "$WORK/env" >"$WORK/env-wrong"
		for setting in $settings; do
			sed -i "/^${setting%%=*}=/d" "$WORK/env-wrong"
			echo "$setting" >>"$WORK/env-wrong"
		done
	)
	HV_VERSION=e2e-new "${COMPOSE[@]}" -p "$COMPOSE_PROJECT_NAME-wrong" --env-file "$WORK/env-wrong" -f "$ROOT/docker/docker-compose.yml" "$@" </dev/null
}
