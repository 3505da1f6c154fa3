# shellcheck shell=bash
# A private PostgreSQL cluster of one directory: never the system's. The caller sets CLUSTER (the directory) and PG_PORT,
# and may set CLUSTER_SETTINGS (lines for postgresql.conf). Wants base.sh.
#
# The server refuses to run as root: root's cluster runs as the user postgres (or "nobody"), so CLUSTER has to be a
# directory which that user can reach. cluster_dir finds one.

PG_CONFIG=${PG_CONFIG:-pg_config}
export PG_CONFIG

# server_user: the OS user that runs PostgreSQL and the API; SERVER_USER decides where a server runs already.
server_user() {
	if [ -n "${SERVER_USER:-}" ]; then
		echo "$SERVER_USER"
	elif ! is_root; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# as_server COMMAND...: as server_user, in a directory it can enter. setpriv execs, so "$!" is the command's own pid.
as_server() {
	local user
	user=$(server_user)
	if [ "$user" = "$(id -un)" ]; then
		(cd / && exec "$@")
	else
		(cd / && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- env HOME=/ "$@")
	fi
}

# cluster_dir DIR: makes DIR/home, the server user's own. Where that user cannot reach it (a clone below
# /root, say) or a socket's path would be too long for the system (107 bytes), it is a link to a directory elsewhere.
cluster_dir() {
	local dir=$1 home=$1/home id base
	if [ ! -e "$home" ]; then
		rm -f "$home" # a link to nothing
		id=$(printf '%s' "$dir" | sha256sum | cut -c1-12)
		if as_server test -x "$dir" && [ "${#home}" -le 70 ]; then
			install -d -m 700 "$home"
		else
			base=/var/tmp
			if is_root; then base=/var/lib; fi
			base=$base/hyperion-vault-dev-$id
			install -d -m 700 "$base"
			[ -O "$base" ] || [ "$(stat -c %U "$base")" = "$(server_user)" ] || die "$base belongs to another user"
			ln -s "$base" "$home"
		fi
	fi
	home=$(readlink -f "$home")
	if is_root; then chown "$(server_user):" "$home"; fi
	echo "$home"
}

pg_bin() { echo "$("$PG_CONFIG" --bindir)/$1"; }

# cluster_running: the process of postmaster.pid lives (a killed one may stay a zombie for a moment) and is this
# cluster's: the kernel gives pids away again.
cluster_running() {
	local pid
	pid=$(sed -n 1p "$CLUSTER/pg/postmaster.pid" 2>/dev/null) || return 1
	grep -q '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" 2>/dev/null &&
		tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-D $CLUSTER/pg"
}

# cluster_sql DATABASE: runs the SQL on stdin as superuser, stops at the first error, prints bare values.
cluster_sql() {
	PGHOST=$CLUSTER/run PGPORT=$PG_PORT PGUSER=postgres PGDATABASE=$1 PGOPTIONS='' \
		"$(pg_bin psql)" -XqtA -v ON_ERROR_STOP=1 -f -
}

cluster_create() {
	[ ! -f "$CLUSTER/pg/PG_VERSION" ] || return 0
	as_server mkdir -p "$CLUSTER/run" "$CLUSTER/log"
	as_server chmod 700 "$CLUSTER/run" "$CLUSTER/log"
	as_server rm -rf "$CLUSTER/pg"
	# The socket lies in a directory that only the server user (and root) can enter, so trust there gives nothing away.
	quietly initdb as_server "$(pg_bin initdb)" -D "$CLUSTER/pg" -U postgres -E UTF8 --locale=C.UTF-8 -N \
		--auth-local=trust --auth-host=scram-sha-256
	as_server tee -a "$CLUSTER/pg/postgresql.conf" >/dev/null <<<"include 'private.conf'"
}

# cluster_configure: settings are written at each start, since ports and paths may change between two.
# Dynamic shared memory lies in files, so that not even a killed server leaves something in /dev/shm.
cluster_configure() {
	as_server tee "$CLUSTER/pg/private.conf" >/dev/null <<-E
		listen_addresses = '127.0.0.1'
		port = $PG_PORT
		unix_socket_directories = '$CLUSTER/run'
		unix_socket_permissions = 0700
		password_encryption = 'scram-sha-256'
		dynamic_shared_memory_type = mmap
		logging_collector = off
		shared_preload_libraries = 'hyperion_vault'
		hyperion_vault.agent_socket = '$CLUSTER/run/agent.sock'
		${CLUSTER_SETTINGS:-}
	E
}

# cluster_start: idempotent; a server older than the installed library is started again, since it holds the old one.
cluster_start() {
	if cluster_running; then
		local since lib
		since=$(sed -n 3p "$CLUSTER/pg/postmaster.pid")
		lib=$("$PG_CONFIG" --pkglibdir)/hyperion_vault.so
		if [ "$(stat -c %Y "$lib")" -lt "$since" ]; then
			cluster_configure
			as_server "$(pg_bin pg_ctl)" -D "$CLUSTER/pg" reload >/dev/null
			return
		fi
	fi
	# Also clears away what a killed server left behind.
	cluster_stop
	cluster_configure
	# Lock fds of the caller are not for the server; its log begins where it did before.
	if ! as_server "$(pg_bin pg_ctl)" -D "$CLUSTER/pg" -l "$CLUSTER/log/postgres.log" -w -t 60 start \
		</dev/null >/dev/null 2>&1 9>&-; then
		tail -n 20 "$CLUSTER/log/postgres.log" >&2 || true
		die "PostgreSQL did not start" "its log is $CLUSTER/log/postgres.log"
	fi
}

# cluster_stop: fast, then by force; afterwards nothing of it is left in memory, even if it had been killed before.
cluster_stop() {
	[ -f "$CLUSTER/pg/postmaster.pid" ] || return 0
	local pid shmid
	pid=$(sed -n 1p "$CLUSTER/pg/postmaster.pid")
	shmid=$(sed -n 7p "$CLUSTER/pg/postmaster.pid" | awk '{ print $2 }')
	if cluster_running; then
		as_server "$(pg_bin pg_ctl)" -D "$CLUSTER/pg" -m fast -w -t 60 stop >/dev/null 2>&1 ||
			as_server "$(pg_bin pg_ctl)" -D "$CLUSTER/pg" -m immediate -w -t 30 stop >/dev/null 2>&1 || true
	fi
	! cluster_running || die "PostgreSQL (pid $pid) does not stop" "its log is $CLUSTER/log/postgres.log"
	# Killed: its segment of System V shared memory outlives it. Only one without an attached process is removed.
	if [ -f "$CLUSTER/pg/postmaster.pid" ]; then
		wait_for 10 cluster_detached "$shmid" || die "processes of a killed PostgreSQL still run"
		if [ -n "$shmid" ]; then as_server ipcrm -m "$shmid" 2>/dev/null || true; fi
		as_server rm -f "$CLUSTER/pg/postmaster.pid" "$CLUSTER"/run/.s.PGSQL.*
	fi
}
cluster_detached() { [ -z "$1" ] || ! ipcs -m -i "$1" 2>/dev/null | grep -qE 'nattch=[1-9]'; }
