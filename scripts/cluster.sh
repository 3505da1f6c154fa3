#!/usr/bin/env bash
# A cluster of three nodes under Patroni and etcd, and what breaks it (api/clustertest). One argument: "test" is what
# make test runs, in 8 minutes at most, "more" every other fault once, "soak" all of them at random for MINUTES (30), with
# SEED as before.
# Installs what is missing, builds, installs the extension; starts nothing of the system's.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

MINUTES=${MINUTES:-30}
case ${1:-} in
test) which='^TestCluster$' limit=15m ;;
more) which='^TestClusterMore$' limit=30m ;;
soak) which='^TestSoak$' limit=$((MINUTES + 20))m ;;
*) die "want test, more or soak" ;;
esac
"$ROOT/scripts/deps.sh" test
find_go
build_all
install_extension
unset PGHOST PGPORT PGUSER PGDATABASE PGSERVICE PGPASSWORD PGOPTIONS "${!VAULT_@}"
cd "$ROOT"
HV_CLUSTER=1 HV_SOAK_MINUTES=$MINUTES HV_SOAK_SEED=${SEED:-} \
	"$GO" test -count 1 -timeout "$limit" -v -run "$which" ./api/clustertest
