#!/usr/bin/env bash
# Everything that one machine can check, from a fresh clone on a fresh machine: installs what is missing, builds,
# installs the extension, then lint, SQL regression tests on a private server, make demo, the Go tests of the API under
# the race detector, beside them the remaining Go tests, most of which try the extension in servers of their own, and a
# cluster of three nodes with faults, as processes and in containers, whose figures are printed. The packages are built
# and tried beside the clusters. Most stages wait more than they compute. A stage that passes is one line; one that does
# not shows its log. The last line counts Go tests with their subtests, and regression files.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

# Tests that may be skipped: one extended regular expression of "package test" a line.
ALLOWED_SKIPS=$ROOT/scripts/allowed-skips
# Packages of the API whose tests make one request after the other: an extended regular expression.
SEQUENTIAL='/api/(pgtest|vaulttest|privilegetest|cmd/nodecheck|clustertest)(/|$)'
# Packages whose tests take longest, the longest first: they begin first, so that none is left alone at the end.
LONGEST=(api/store extension/exttest api/cmd/hyperion-vault-api api/rotator api/kms/outagetest api/privilegetest
	api/cmd/nodecheck api/login/logintest api/httpapi)
# How many failed tests of a stage may run again.
MOST_AGAIN=10
# Private servers and clients must not inherit whom the caller talks to.
unset PGHOST PGPORT PGUSER PGDATABASE PGSERVICE PGPASSWORD PGOPTIONS "${!VAULT_@}"

TMP=$(mktemp -d /tmp/hv-test.XXXXXX)
chmod 711 "$TMP"
CLUSTER=$TMP/cluster
PG_PORT=''
broken=0 passed=0 failed=0 skipped=0 unstable=0
declare -A BESIDE=() # process of each stage that runs beside others
MEMORY=''            # directory in memory, if there is one

finish() {
	local rc=$? pid
	for pid in "${BESIDE[@]}"; do
		kill -- -"$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	cluster_stop || true
	if [ -n "$MEMORY" ]; then rm -rf "$MEMORY" || true; fi
	if [ "$rc" = 0 ]; then rm -rf "$TMP"; else say "logs are kept in $TMP"; fi
	exit "$rc"
}
trap finish EXIT

# stage NAME COMMAND...: runs it with its output in a log; the first line of a good stage is the only one.
stage() {
	timed "$@" && return
	broken=1
	return 1
}
timed() {
	local name=$1 start=$SECONDS rc=0
	shift
	("$@") >"$TMP/$name.log" 2>&1 </dev/null || rc=$?
	if [ "$rc" = 0 ]; then
		printf 'ok    %-12s %4d s\n' "$name" $((SECONDS - start))
	else
		printf 'FAIL  %-12s %4d s\n' "$name" $((SECONDS - start))
	fi
	return "$rc"
}

# begin NAME COMMAND...: a stage beside the next ones; finish_stage prints its end.
begin() {
	local name=$1
	set -m # a process group of its own, which finish can end
	(
		trap - EXIT # the end of this script is not its own
		renice -n "${NICE:-0}" -p "$BASHPID" >/dev/null 2>&1 || true
		timed "$@"
	) >"$TMP/$name.line" &
	BESIDE[$name]=$!
	set +m
}
finish_stage() {
	finish_timed "$1" && return
	broken=1
	return 1
}
finish_timed() {
	local rc=0
	wait "${BESIDE[$1]}" || rc=$?
	unset "BESIDE[$1]"
	cat "$TMP/$1.line"
	return "$rc"
}

# needed NAME COMMAND...: without it nothing after it makes sense.
needed() {
	stage "$@" && return
	tail -n 60 "$TMP/$1.log"
	exit 1
}

# go_tests NAME ARGUMENTS...: go test with a count of what ran.
go_tests() {
	local name=$1 rc=0
	shift
	timed "$name" go_json "$TMP/$name.json" "$@" || rc=$?
	count_tests "$name" "$rc"
}
# count_tests NAME RC: what failed is shown. A stage that failed without a failed test or package did not run.
count_tests() {
	local events=$TMP/$1.json bad
	[ "$2" = 0 ] || show_failures "$events"
	bad=$(failures "$events" | wc -l)
	[ "$2" = 0 ] || [ "$bad" -gt 0 ] || broken=1
	count "$(events pass "$events" | wc -l)" "$bad" "$(events skip "$events" | wc -l)"
	check_skips "$events"
}

# run_again NAME FLAGS...: the failed tests of a stage run twice more when nothing else fills the machine. Those that pass then
# are named as unstable and break nothing (docs/decisions/0221). Many failures at once and data races are not the machine's.
run_again() {
	local name=$1 bad package tests n packages
	shift
	bad=$(failures "$TMP/$name.json")
	n=$(awk '{ sub("/.*", "", $2); print $1, $2 }' <<<"$bad" | sort -u | wc -l)
	[ -n "$bad" ] && [ "$n" -le "$MOST_AGAIN" ] || return 0
	if grep -qF 'WARNING: DATA RACE' "$TMP/$name.json"; then return 0; fi
	mapfile -t packages < <(awk '{ print $1 }' <<<"$bad" | sort -u)
	for package in "${packages[@]}"; do
		tests=$(awk -v p="$package" '$1 == p { sub("/.*", "", $2); print $2 }' <<<"$bad" | sort -u | paste -sd '|')
		n=$(awk -v p="$package" '$1 == p' <<<"$bad" | wc -l)
		[ -n "$tests" ] || continue # the package did not build, or died
		if timed again go_json "$TMP/again.json" "$@" -count 2 -run "^($tests)\$" "$package"; then
			failed=$((failed - n)) unstable=$((unstable + n))
			say "UNSTABLE  $package $tests"
		else
			show_failures "$TMP/again.json"
		fi
	done
}
# Nothing is taken from Go's cache of results: it does not know of the servers and the installed extension.
go_json() {
	local out=$1
	shift
	cd "$ROOT/${GO_DIR:-}" && HV_REQUIRE_PG=1 "$GO" test -json -count 1 -timeout 35m "$@" >"$out"
}

# packages_of PATTERN: the LONGEST first.
packages_of() {
	(cd "$ROOT" && "$GO" list "$1") | awk -v longest="${LONGEST[*]}" '
		BEGIN { n = split(longest, names, " "); for (i = 1; i <= n; i++) rank[names[i]] = i }
		{ path = $0; sub("^[^/]*/[^/]*/[^/]*/", "", path); print (path in rank ? rank[path] : n + 1), $0 }' | sort -s -n -k 1,1 | cut -d " " -f 2
}

# events ACTION FILE: "package test" of every test that ended so.
events() { jq -r --arg a "$1" 'select(.Action == $a and .Test != null) | .Package + " " + .Test' "$2"; }

# failures FILE: failed tests, and packages that failed without one (they did not build, or died).
failures() {
	events fail "$1"
	jq -rs '(map(select(.Action == "fail" and .Test != null) | .Package) | unique) as $named |
		.[] | select(.Action == "fail" and .Test == null and (.Package | IN($named[]) | not)) | .Package' "$1"
}

# show_failures FILE: what failed tests and packages said.
show_failures() {
	local bad
	bad=$(jq -r 'select(.Action == "fail" or .Action == "build-fail") | (.Package // .ImportPath) + " " + (.Test // "")' "$1")
	jq -r --arg bad "$bad" '($bad | split("\n")) as $b |
		select(.Action == "output" or .Action == "build-output") |
		select((.Package // .ImportPath) + " " + (.Test // "") | IN($b[])) | .Output' "$1" |
		grep -vE '^(=== (RUN|PAUSE|CONT|NAME)|$)' | head -n 400
}

count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

check_skips() {
	local unexpected
	events skip "$1" | sed 's/^/SKIP  /'
	unexpected=$(events skip "$1" | grep -vEf <(grep -vE '^(#|$)' "$ALLOWED_SKIPS") || true)
	if [ -n "$unexpected" ]; then
		say "FAIL  skipped though nothing allows it (scripts/allowed-skips):" "$unexpected"
		broken=1
	fi
}

# use_memory: a cluster has more than a thousand files. A file system in memory makes and removes them with a fraction of the
# processor, where the machine has one with enough space (docs/decisions/0205). All clusters together take less than 2 GB.
use_memory() {
	local dir=/dev/shm space
	[ -z "${HV_TEST_DIR:-}" ] && [ "$(stat -f -c %T "$dir" 2>/dev/null)" = tmpfs ] || return 0
	space=$(df --output=avail -k "$dir" | tail -n 1)
	[ "$space" -ge 6291456 ] && [ "$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)" -ge 6291456 ] || return 0
	MEMORY=$(mktemp -d "$dir/hv.XXXXXX")
	chmod 711 "$MEMORY"
	export HV_TEST_DIR=$MEMORY
}

private_server() {
	PG_PORT=$(free_port 16432)
	install -d -m 700 -o "$(server_user)" "$CLUSTER"
	cluster_create
	cluster_start
	echo "$PG_PORT" >"$TMP/port"
}

regress() {
	local log=$TMP/installcheck.log good bad
	stage installcheck env PGHOST="$CLUSTER/run" PGPORT="$(cat "$TMP/port")" PGUSER=postgres \
		"$ROOT/scripts/installcheck.sh" || tail -n 300 "$log"
	good=$(grep -cE '^test .* ok|\.\.\. ok|^ok [0-9]' "$log" || true)
	bad=$(grep -cE '\.\.\. FAILED|^not ok [0-9]' "$log" || true)
	count "$good" "$bad" 0
}

# try_demo: what the README begins with, on a server of its own, twice; then it is stopped and nothing is left of it.
try_demo() {
	local rc=0
	export DEV_DIR=$TMP/demo
	demo_twice || rc=$?
	"$ROOT/scripts/down.sh" --purge || rc=$?
	return "$rc"
}
demo_twice() {
	local home segment
	"$ROOT/scripts/demo.sh" && "$ROOT/scripts/demo.sh" || return 1
	home=$(readlink -f "$DEV_DIR/home")
	segment=$(sed -n 7p "$home/pg/postmaster.pid" | awk '{ print $2 }')
	"$ROOT/scripts/down.sh" || return 1
	if grep -lsF "$home" /proc/[0-9]*/cmdline || ipcs -m | awk '{ print $2 }' | grep -qxF "$segment"; then
		say "a process (named above) or shared memory is left"
		return 1
	fi
}

# packages: built of this tree, built again, judged, and tried in a fresh root, where one can be made.
packages() {
	"$ROOT/packaging/test-refusals.sh" && "$ROOT/packaging/test-make.sh" && "$ROOT/packaging/lint.sh" && "$ROOT/packaging/reproducible.sh" warm &&
		"$ROOT/packaging/test-source.sh" && "$ROOT/packaging/test.sh" || return 1
}

needed deps "$ROOT/scripts/deps.sh" test
find_go
needed build build_all
needed install install_extension
stage lint "$ROOT/scripts/lint.sh" quick || cat "$TMP/lint.log"
needed server private_server
regress
use_memory
stage demo try_demo || cat "$TMP/demo.log"
# A Go test runs once, whatever it needs, and PostgreSQL is required. The race detector costs several times the
# processor, so it is for the packages of the API. core has no goroutines; the others drive the API from outside, one
# request at a time.
mapfile -t concurrent < <(packages_of ./api/... | grep -vE "$SEQUENTIAL")
mapfile -t rest < <(packages_of ./... | grep -vxFf <(printf '%s\n' "${concurrent[@]}"))
# The stage lint has vetted all of it.
begin integration go_json "$TMP/integration.json" -vet=off -parallel 4 "${rest[@]}"
go_tests unit -vet=off -race -p 3 "${concurrent[@]}"
# Go knows of nothing that these tests start, and would serve the result of an earlier run. They mostly wait.
HV_CLUSTER=1 begin cluster go_json "$TMP/cluster.json" -timeout 12m -v -run '^TestCluster$' ./api/clustertest
rc=0
finish_timed integration || rc=$?
count_tests integration "$rc"
# Unmodified clients of Vault and OpenBao, which are a module of their own.
GO_DIR=api/vaultapi/clienttest go_tests clients .
# The console in Chromium, which is one too. Its pictures stay in .dev/console, also when all is well.
rm -rf "$ROOT/.dev/console"
export HV_SCREENSHOTS=$ROOT/.dev/console
GO_DIR=api/console/browsertest go_tests console .
NICE=10 begin packages packages
rc=0
finish_timed cluster || rc=$?
count_tests cluster "$rc"
jq -r 'select(.Action == "output" and (.Output | startswith("CLUSTER"))) | .Output | rtrimstr("\n")' "$TMP/cluster.json"

# The same in containers, with the upgrade from the previous version; it says why where it cannot.
if stage e2e env HV_E2E_LOGS="$TMP/e2e" "$ROOT/scripts/e2e.sh"; then
	grep -E '^(SKIP|E2E|CLUSTER) ' "$TMP/e2e.log" || true
else
	cat "$TMP/e2e.log"
fi
count "$(grep -c '^ *--- PASS' "$TMP/e2e.log" || true)" "$(grep -c '^ *--- FAIL' "$TMP/e2e.log" || true)" 0
finish_stage packages || tail -n 300 "$TMP/packages.log"
grep '^SKIP ' "$TMP/packages.log" || true

run_again integration -vet=off -parallel 4
run_again unit -vet=off -race
GO_DIR=api/vaultapi/clienttest run_again clients
GO_DIR=api/console/browsertest run_again console

[ "$passed" -gt 0 ] || broken=1
printf 'total %17d s\n' "$SECONDS"
say "$passed passed, $failed failed, $skipped skipped, $unstable unstable"
[ "$broken" = 0 ] && [ "$failed" = 0 ]
