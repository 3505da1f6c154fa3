# shellcheck shell=bash
# Names and files of the private server that "make up" runs. Wants base.sh, postgres.sh, api.sh.
#
# DEV_DIR (0711, ours) holds what is ours: master.key, service.password, ports, env, all 0600.
# DEV_DIR/home is the server user's: pg (data), run (sockets), log, bin.

DEV_DIR=${DEV_DIR:-.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac

# dev_open: sets CLUSTER; fails when there is no private server yet.
dev_open() {
	[ -d "$DEV_DIR/home" ] || return 1
	# shellcheck disable=SC2034 # for postgres.sh and api.sh
	CLUSTER=$(readlink -f "$DEV_DIR/home")
}

# dev_lock: one up or down at a time; the lock goes with the script.
dev_lock() {
	exec 9>"$DEV_DIR/lock"
	flock -w 120 9 || die "another make up or make down is at work in $DEV_DIR"
}

# dev_secret FILE BYTES: the file's content, made of random bytes the first time.
dev_secret() {
	if [ ! -s "$DEV_DIR/$1" ]; then
		(umask 077 && random_secret "$2" >"$DEV_DIR/$1")
	fi
	cat "$DEV_DIR/$1"
}

# dev_port NAME WISH DEFAULT BUSY: WISH if given (and free or BUSY, the port our own process has), else the port of
# last time, else the first free one from DEFAULT on.
dev_port() {
	local name=$1 wish=$2 default=$3 busy=$4 last
	last=$(sed -n "s/^$name=//p" "$DEV_DIR/ports" 2>/dev/null || true)
	if [ -n "$wish" ]; then
		[ "$wish" = "$busy" ] || port_free "$wish" || die "port $wish ($name) is taken"
		echo "$wish"
	elif [ -n "$busy" ]; then
		echo "$busy"
	elif [ -n "$last" ] && port_free "$last"; then
		echo "$last"
	else
		free_port "$default"
	fi
}
