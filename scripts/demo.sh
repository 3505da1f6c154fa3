#!/usr/bin/env bash
# From nothing to a working vault: installs what is missing, builds, starts a private server (scripts/up.sh), then
# does the main job for real, by REST and by SQL. Every command is printed before it runs, and every answer is checked.
# Run it as often as you like; it leaves the server running.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/dev.sh
. "$ROOT/scripts/lib/dev.sh"

BOLD='' PLAIN=''
if [ -t 1 ]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; fi
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT

# explain TEXT: what comes next.
explain() { printf '\n%s# %s%s\n' "$BOLD" "$*" "$PLAIN"; }

# show PATTERN: prints the command on stdin as you could type it, runs it, and wants its output to match. A command
# may fail: refusals are part of the demo, and the pattern says which.
show() {
	local command
	command=$(cat)
	printf '$ %s\n' "$command"
	eval "$command" >"$OUT" 2>&1 </dev/null || true
	cat "$OUT"
	grep -qE -- "$1" "$OUT" || die "that is not the answer the demo expects: $1" "the logs are in $DEV_DIR/home/log/"
}

# forget NAME...: secrets of a demo before this one, and that they existed: a secret that is created again goes on with
# the version numbers of the deleted one, and the walk shows versions 1 and 2.
forget() {
	local name
	for name in "$@"; do
		curl -sS -o /dev/null -X DELETE -H @"$ADMIN" -H 'If-Match: *' "$VAULT_ADDR/v1/secrets/$name"
		psql -Xq -v name="$name" <<-'E'
			DELETE FROM vault.rotation_jobs j USING vault.secrets s WHERE s.id = j.secret_id AND s.name = :'name' AND s.deleted_at IS NOT NULL;
			DELETE FROM vault.secrets WHERE name = :'name' AND deleted_at IS NOT NULL;
		E
	done
}

explain "Build, start a private PostgreSQL with the extension, and the API (the first time takes minutes)"
"$ROOT/scripts/up.sh"
# shellcheck disable=SC1091 # written by up.sh
. "$DEV_DIR/env"
unset PGPASSWORD PGSERVICE PGOPTIONS
# A file keeps the admin token out of the process list.
ADMIN=$DEV_DIR/admin.header
# So does one for the token of the application, readable by this user alone.
APP=$DEV_DIR/app.header
rm -f "$APP" "$APP.json"
install -m 600 /dev/null "$APP" && install -m 600 /dev/null "$APP.json"
forget demo/db/password demo/api-key demo/kv
psql -Xq <<-'E'
	DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
E
# shellcheck disable=SC2034 # shown commands use it
SINCE=$(psql -XAtc 'SELECT now()')

explain "Create a secret by REST. The admin token is in the header file \$ADMIN."
show '"current_version":1' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets" -H @"$ADMIN" --json '{"name":"demo/db/password","kind":"manual","value":"correct-horse-battery"}' | jq -c '{name, kind, current_version}'
E

explain "Read it by REST: no token, but the client's address must be allowed (VAULT_ALLOWED_IPS)."
show '"value":"correct-horse-battery"' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password" | jq -c '{name, version, value}'
E

explain "Read it by SQL: a role may do what it is granted, on the names it is granted."
show '^granted$' <<'E'
psql -Xq -o /dev/null -c "SELECT vault.grant_access('app', 'demo/*', '{read,verify}')" && echo granted
E
show '^correct-horse-battery$' <<'E'
psql -XAt -U app -c "SELECT vault.read_secret('demo/db/password')"
E

explain "A token acts as a role, so the same grants decide by REST. It is shown once; here it goes to a header file, \$APP."
show '"role":"app"' <<'E'
curl -sS "$VAULT_ADDR/v1/tokens" -H @"$ADMIN" --json "{\"name\":\"demo-$(date +%s%N)\",\"role\":\"app\",\"ttl_secs\":3600}" >"$APP.json"; jq -r '"Authorization: Bearer \(.token)"' "$APP.json" >"$APP"; jq -c '{name, role, accessor, expires_at}' "$APP.json"
E
show '"value":"correct-horse-battery"' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password" -H @"$APP" | jq -c '{name, version, value}'
E
show '403' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/other/secret" -H @"$APP" | jq -c '{status, title, detail}'
E
show '"action":"read","allowed":true,"grantee":"app"' <<'E'
curl -sS "$VAULT_ADDR/v1/access?name=demo/db/password" -H @"$APP" | jq -c '.actions[0]'
E
show '^204$' <<'E'
curl -sS -o /dev/null -w '%{http_code}\n' -X DELETE "$VAULT_ADDR/v1/tokens/$(jq -r .accessor "$APP.json")" -H @"$ADMIN"
E
show '401' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password" -H @"$APP" | jq -c '{status, title, detail}'
E

explain "Verify a candidate without reading the secret, both ways."
show '"valid":true' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password/verify" --json '{"value":"correct-horse-battery"}'; echo
E
show '"valid":false' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password/verify" --json '{"value":"wrong"}'; echo
E
show '^t$' <<'E'
psql -XAt -U app -c "SELECT vault.verify('demo/db/password', 'correct-horse-battery')"
E

explain "Update it, naming the version you replace. If that version is no longer current, the API answers 412 and changes nothing."
show '"current_version":2' <<'E'
curl -sS -X PUT "$VAULT_ADDR/v1/secrets/demo/db/password" -H @"$ADMIN" -H 'If-Match: "1"' --json '{"value":"second-value"}' | jq -c '{name, current_version}'
E
show '412' <<'E'
curl -sS -X PUT "$VAULT_ADDR/v1/secrets/demo/db/password" -H @"$ADMIN" -H 'If-Match: "1"' --json '{"value":"third-value"}' | jq -c '{status, title, detail}'
E

explain "An automatic secret: the vault makes its value. After a rotation the old one verifies until its grace is over."
show '"current_version":1' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets" -H @"$ADMIN" --json '{"name":"demo/api-key","kind":"automatic","rotation_interval_secs":86400,"grace_period_secs":3600}' | jq -c '{name, kind, current_version, next_rotation_at}'
E
show '^[A-Za-z0-9]{32}$' <<'E'
OLD=$(curl -sS "$VAULT_ADDR/v1/secrets/demo/api-key" | jq -r .value); echo "$OLD"
E
show '"current_version":2' <<'E'
curl -sS -X POST "$VAULT_ADDR/v1/secrets/demo/api-key/rotate" -H @"$ADMIN" | jq -c '{name, current_version}'
E
show '^[A-Za-z0-9]{32}$' <<'E'
NEW=$(curl -sS "$VAULT_ADDR/v1/secrets/demo/api-key" | jq -r .value); echo "$NEW"
E
[ "${OLD:?}" != "${NEW:?}" ] || die "the rotation made the same value again"
show '"valid":true' <<'E'
jq -n --arg v "$OLD" '{value: $v}' | curl -sS "$VAULT_ADDR/v1/secrets/demo/api-key/verify" --json @-; echo
E
show '"valid":true' <<'E'
jq -n --arg v "$NEW" '{value: $v}' | curl -sS "$VAULT_ADDR/v1/secrets/demo/api-key/verify" --json @-; echo
E

explain "Refused: a name outside the grant, a change without a token. (A role without any grant never gets as far.)"
show 'ERROR: .*denied to read' <<'E'
psql -X -U app -c "SELECT vault.read_secret('other/secret')"
E
show '401' <<'E'
curl -sS -X DELETE "$VAULT_ADDR/v1/secrets/demo/db/password" -H 'If-Match: *' | jq -c '{status, title, detail}'
E
show 'ERROR: .*denied for schema vault' <<'E'
psql -X -U stranger -c "SELECT vault.read_secret('demo/db/password')"
E

explain "Clients of Vault and OpenBao read and write the same secrets, unmodified."
if client=$(command -v bao || command -v vault); then
	# shellcheck disable=SC2034 # shown commands use it
	CLIENT=${client##*/}
	export VAULT_TOKEN=$VAULT_ADMIN_TOKEN BAO_TOKEN=$VAULT_ADMIN_TOKEN BAO_ADDR=$VAULT_ADDR
	show 'third-value' <<'E'
$CLIENT kv put -mount=secret demo/kv password=third-value >/dev/null && $CLIENT kv get -mount=secret -field=password demo/kv
E
else
	show '"password":"third-value"' <<'E'
curl -sS -o /dev/null "$VAULT_ADDR/v1/secret/data/demo/kv" -H @"$ADMIN" -d '{"data":{"password":"third-value"}}'
curl -sS "$VAULT_ADDR/v1/secret/data/demo/kv" -H @"$ADMIN" | jq -c '.data | {data, version: .metadata.version}'
E
fi

# arrived: reads and refusals get into the audit log a moment after their answer, in their order.
arrived() { psql -XAt -v since="$SINCE" <<<"SELECT 1 FROM vault.audit('demo/', :'since') WHERE action = 'delete' AND outcome = 'denied'" | grep -q 1; }

explain "Whatever the vault was asked is in its audit log, and what it refused."
wait_for 10 arrived || die "the refusal is not in the audit log" "the logs are in $DEV_DIR/home/log/"
show 'other/secret .*denied' <<'E'
psql -X -v since="$SINCE" <<<"SELECT actor, client_ip, action, secret_name, version, outcome, code FROM vault.audit(NULL, :'since')"
E

explain "What PostgreSQL stores is ciphertext, a wrapped key, a nonce."
show 'demo/db/password' <<'E'
psql -X <<'SQL'
SELECT s.name, v.version, left(v.wrapped_dek::text, 18) AS wrapped_dek, left(v.nonce::text, 18) AS nonce, left(v.ciphertext::text, 18) AS ciphertext
FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name LIKE 'demo/%' ORDER BY 1, 2
SQL
E

explain "No file of the server holds the value, not even its write-ahead log or its message log."
show '^found nowhere$' <<'E'
psql -Xqc CHECKPOINT; grep -rlaF correct-horse-battery "$(dirname "$PGHOST")" || echo "found nowhere"
E

dir=${DEV_DIR/#"$PWD"\//}
cat <<E

${BOLD}The vault is running.$PLAIN Go on with

  . $dir/env                  # VAULT_ADDR, VAULT_ADMIN_TOKEN, PGHOST, PGPORT, PGUSER, PGDATABASE
  curl "\$VAULT_ADDR/v1/secrets" -H @$dir/admin.header
  psql                        # as superuser; psql -U app as the role of this demo

and stop it with

  make down                   # the data stays; make purge deletes it
E
