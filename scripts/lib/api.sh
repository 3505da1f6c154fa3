# shellcheck shell=bash
# One API process beside a private cluster. The caller sets CLUSTER (its directory) and exports the process's VAULT_*
# settings. Wants base.sh and postgres.sh.
#
# The process runs as the server's OS user: the agent's socket is for that user alone.

# api_pid: the running process's pid; fails when there is none. The command line is compared because the kernel
# gives pids away again, and because /proc/PID/exe of a process that forbids dumps is root's to read.
api_pid() {
	local pid
	pid=$(cat "$CLUSTER/api.pid" 2>/dev/null) || return 1
	[ "$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n1)" = "$CLUSTER/bin/hyperion-vault-api" ] || return 1
	echo "$pid"
}

# api_fingerprint: changes when the program or a setting does. It holds only a hash.
api_fingerprint() {
	{
		env | grep -E '^(VAULT|AWS)_' | grep -vE '^VAULT_(ADDR|ADMIN_TOKEN)=' | sort
		sha256sum <"$ROOT/bin/hyperion-vault-api"
	} | sha256sum
}

# api_start: idempotent; a process with another program or other settings is replaced.
api_start() {
	local print
	print=$(api_fingerprint)
	if api_pid >/dev/null; then
		[ "$print" != "$(cat "$CLUSTER/api.fingerprint" 2>/dev/null)" ] || return 0
		api_stop
	fi
	install -d -m 755 "$CLUSTER/bin"
	install -m 755 "$ROOT/bin/hyperion-vault-api" "$CLUSTER/bin/hyperion-vault-api.new"
	mv -f "$CLUSTER/bin/hyperion-vault-api.new" "$CLUSTER/bin/hyperion-vault-api"
	touch "$CLUSTER/log/api.log"
	wc -c <"$CLUSTER/log/api.log" >"$CLUSTER/log/api.log.start"
	api_spawn </dev/null >>"$CLUSTER/log/api.log" 2>&1 9>&- &
	wait_for 5 api_pid >/dev/null || api_died
	echo "$print" >"$CLUSTER/api.fingerprint"
}

# api_spawn: becomes the process, in a session of its own so that it survives the shell that started it.
api_spawn() {
	local user
	user=$(server_user)
	export CLUSTER
	# shellcheck disable=SC2016 # the inner shell expands
	local run='echo $$ >"$CLUSTER/api.pid"; cd /; exec "$@"'
	if [ "$user" = "$(id -un)" ]; then
		exec setsid bash -c "$run" api "$CLUSTER/bin/hyperion-vault-api" serve
	fi
	HOME=/ exec setsid bash -c "$run" api setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- \
		"$CLUSTER/bin/hyperion-vault-api" serve
}

# api_died: shows what the process wrote since it was started.
api_died() {
	tail -c +"$(($(cat "$CLUSTER/log/api.log.start") + 1))" "$CLUSTER/log/api.log" | tail -n 40 >&2
	die "hyperion-vault-api did not start" "its log is $CLUSTER/log/api.log"
}

api_ready() { curl -fsS -o /dev/null --max-time 2 "$1/readyz" 2>/dev/null; }
api_ready_or_dead() { ! api_pid >/dev/null || api_ready "$1"; }

# api_wait_ready URL
api_wait_ready() {
	if ! wait_for 30 api_ready_or_dead "$1" || ! api_pid >/dev/null; then api_died; fi
}

# api_stop: asks, waits for what is in flight, then forces.
api_stop() {
	local pid
	pid=$(api_pid) || return 0
	kill -TERM "$pid" 2>/dev/null || true
	if ! wait_for 40 api_gone; then
		kill -KILL "$pid" 2>/dev/null || true
		wait_for 5 api_gone || die "hyperion-vault-api (pid $pid) does not stop"
	fi
	rm -f "$CLUSTER/api.pid"
}
api_gone() { ! api_pid >/dev/null; }
