#!/usr/bin/env bash
# Stops what up.sh started; fine when nothing runs. The data stays, unless --purge is given.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$ROOT/scripts/lib/postgres.sh"
# shellcheck source=lib/api.sh
. "$ROOT/scripts/lib/api.sh"
# shellcheck source=lib/dev.sh
. "$ROOT/scripts/lib/dev.sh"

if [ -d "$DEV_DIR" ]; then dev_lock; fi
if dev_open; then
	api_stop
	cluster_stop
fi
if [ "${1:-}" = --purge ]; then
	if dev_open; then
		say "removing $CLUSTER"
		rm -rf "$CLUSTER"
	fi
	if [ -d "$DEV_DIR" ]; then
		say "removing $DEV_DIR"
		rm -rf "$DEV_DIR"
	fi
	say "stopped; nothing is left"
elif [ -z "${CLUSTER:-}" ]; then
	say "there is no private server in $DEV_DIR"
else
	say "stopped; the data stays in $CLUSTER (make up starts it again, make purge deletes it)"
fi
