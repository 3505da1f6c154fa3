# shellcheck shell=bash
# What every script starts with: strict mode, the repository's root, messages, who we are.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
export ROOT

say() { printf '%s\n' "$*"; }

# die MESSAGE [HINT]: the message says what is wrong, the hint what to do.
die() {
	printf 'error: %s\n' "$1" >&2
	if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
	exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# as_root COMMAND...: through sudo when we are not root.
as_root() {
	if is_root; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this step needs root: $*" "run it as root, or install sudo"
	fi
}

# quietly NAME COMMAND...: the output appears only when the command fails.
quietly() {
	local name=$1 log
	shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1; then
		rm -f "$log"
	else
		local rc=$?
		cat "$log" >&2
		rm -f "$log"
		die "$name failed (exit $rc)"
	fi
}

# port_free PORT: a server can listen there on loopback. A connection that went out from there keeps the port for a minute
# after its end, so this listens there, with the option that servers set.
port_free() {
	perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0) && setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1)
		&& bind(S, sockaddr_in(shift, INADDR_LOOPBACK)) && listen(S, 1) or exit 1' "$1"
}

# port_serves PORT: something accepts connections there on loopback.
port_serves() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST: the first free port from FIRST on.
free_port() {
	local p
	for ((p = $1; p < $1 + 200; p++)); do
		if port_free "$p"; then
			echo "$p"
			return
		fi
	done
	die "no free port in $1..$((p - 1))"
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.1
	done
}

# random_secret BYTES: base64 of so many random bytes.
random_secret() { head -c "$1" /dev/urandom | base64 -w0; }

# find_go: sets GO to a Go that is new enough for go.mod, or says how to get one.
find_go() {
	local want have
	want=$(awk '$1 == "go" { print $2 }' "$ROOT/go.mod")
	GO=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
	export GO
	local arch
	arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
	local hint="curl -fsSL https://go.dev/dl/go$want.linux-$arch.tar.gz | sudo tar -C /usr/local -xz   (then run this again; /usr/local/go/bin is found without PATH)"
	command -v "$GO" >/dev/null || die "Go $want or newer is needed and was not found" "$hint"
	have=$(cd "$ROOT" && "$GO" env GOVERSION 2>/dev/null) || have=$("$GO" version | awk '{ print $3 }')
	have=${have#go}
	if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n1)" != "$want" ]; then
		die "Go $want or newer is needed, $GO is $have (the package of Debian 12 is too old)" "$hint"
	fi
}
