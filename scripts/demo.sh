#!/usr/bin/env bash
# From nothing to a working vault: installs what is missing, builds, starts a private server (scripts/up.sh), then
# does the main job for real, by the command, by REST and by SQL. Every command is printed before it runs, and every
# answer is checked. Run it as often as you like; it leaves the server running.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"
# shellcheck source=lib/dev.sh
. "$ROOT/scripts/lib/dev.sh"

BOLD='' PLAIN=''
if [ -t 1 ]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; fi
OUT=$(mktemp)
trap 'touch "$OUT.stop" && wait; rm -f "$OUT" "$OUT".*' EXIT

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
		psql -Xq -o /dev/null -v name="$name" <<<"SELECT vault.unbind_role(name) FROM vault.bound_roles(:'name') WHERE current"
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
APP=$DEV_DIR/app.token
rm -f "$APP"
install -m 600 /dev/null "$APP"
export PATH=$ROOT/bin:$PATH VAULT_TOKEN=$VAULT_ADMIN_TOKEN
unset VAULT_CACERT VAULT_CAPATH VAULT_CLIENT_CERT VAULT_CLIENT_KEY VAULT_SKIP_VERIFY
forget demo/db/password demo/api-key demo/kv demo/shop
psql -Xq <<-'E'
	DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	DO $$ BEGIN CREATE ROLE demo_shop; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	DO $$ BEGIN CREATE ROLE demo_shop_a LOGIN IN ROLE demo_shop; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	DO $$ BEGIN CREATE ROLE demo_shop_b LOGIN IN ROLE demo_shop; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
E
# shellcheck disable=SC2034 # shown commands use it
SINCE=$(psql -XAtc 'SELECT now()')

explain "Create a secret. The command has its token from VAULT_TOKEN; a person logs in with \"hyperion-vault login\"."
show 'has version 1$' <<'E'
printf %s correct-horse-battery | hyperion-vault put demo/db/password
E

explain "Read it, by the command and by REST."
show '^correct-horse-battery' <<'E'
hyperion-vault get demo/db/password; echo
E
show '"value":"correct-horse-battery"' <<'E'
curl -sS "$VAULT_ADDR/v1/secrets/demo/db/password" -H @"$ADMIN" | jq -c '{name, version, value}'
E

explain "Read it by SQL: a role may do what it is granted, on the names it is granted."
show 'is granted to app$' <<'E'
hyperion-vault grant app 'demo/*' read verify
E
show '^correct-horse-battery$' <<'E'
psql -XAt -U app -c "SELECT vault.read_secret('demo/db/password')"
E

explain "A token acts as a role, so the same grants decide by REST. It is shown once; here it goes to a file, \$APP."
show '^kept$' <<'E'
hyperion-vault token create "demo-$(date +%s%N)" --role app --ttl 1h -o raw >"$APP" && echo kept
E
show '^correct-horse-battery' <<'E'
VAULT_TOKEN=$(cat "$APP") hyperion-vault get demo/db/password; echo
E
show '^error: read other/secret' <<'E'
VAULT_TOKEN=$(cat "$APP") hyperion-vault get other/secret
E
show '^read.yes' <<'E'
hyperion-vault who-may demo/db/password --role app
E
show '^revoked' <<'E'
VAULT_TOKEN=$(cat "$APP") hyperion-vault token revoke self >/dev/null && echo revoked
E
show 'not valid any longer' <<'E'
VAULT_TOKEN=$(cat "$APP") hyperion-vault get demo/db/password
E

explain "Give it to a program, and to no file and no argument."
show '^the program has correct-horse-battery$' <<'E'
hyperion-vault exec -e DB_PASSWORD=demo/db/password -- sh -c 'echo "the program has $DB_PASSWORD"'
E

explain "Verify a candidate without reading the secret, both ways."
show '^valid: it is version 1$' <<'E'
printf %s correct-horse-battery | hyperion-vault verify demo/db/password
E
show '^not valid$' <<'E'
printf %s wrong | hyperion-vault verify demo/db/password
E
show '^t$' <<'E'
psql -XAt -U app -c "SELECT vault.verify('demo/db/password', 'correct-horse-battery')"
E

explain "Update it, naming the version you replace. If that version is no longer current, nothing is changed."
show 'has version 2$' <<'E'
printf %s second-value | hyperion-vault put demo/db/password --if-version 1
E
show 'hint: another change was faster' <<'E'
printf %s third-value | hyperion-vault put demo/db/password --if-version 1
E

explain "An automatic secret: the vault makes its value. After a rotation the old one verifies until its grace is over."
show 'has version 1$' <<'E'
hyperion-vault put demo/api-key --automatic --interval 1d --grace 1h
E
show '^[A-Za-z0-9]{32}$' <<'E'
OLD=$(hyperion-vault get demo/api-key); echo "$OLD"
E
show 'has version 2$' <<'E'
hyperion-vault rotate demo/api-key
E
show '^[A-Za-z0-9]{32}$' <<'E'
NEW=$(hyperion-vault get demo/api-key); echo "$NEW"
E
[ "${OLD:?}" != "${NEW:?}" ] || die "the rotation made the same value again"
show '^valid: it is version 1$' <<'E'
printf %s "$OLD" | hyperion-vault verify demo/api-key
E
show '^valid: it is version 2$' <<'E'
printf %s "$NEW" | hyperion-vault verify demo/api-key
E
show 'current$' <<'E'
hyperion-vault versions demo/api-key
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

explain "The passwords of two PostgreSQL roles that take turns. A rotation changes secret and password in one transaction."
show '^bound$' <<'E'
psql -Xq -o /dev/null -v ON_ERROR_STOP=1 <<'SQL' && echo bound
SELECT vault.create_secret('demo/shop', '{"username": "demo_shop_a", "password": "change-me"}'::text, 'automatic', 'application/json',
  rotation_interval_secs => 86400, grace_period_secs => 3600, generate_policy => '{"json_field": "password"}');
SELECT vault.bind_role_pair('demo/shop', 'demo_shop_a', 'demo_shop_b', 'demo_shop');
SQL
E

# reconnect: reads the current credential and logs in with it over TCP, again and again, until $OUT.stop is there.
# Each try is a line in $OUT.logins: the user and what came of it.
reconnect() {
	local credential user
	while [ ! -e "$OUT.stop" ]; do
		credential=$(hyperion-vault get demo/shop)
		user=$(jq -r .username <<<"$credential")
		if PGPASSWORD=$(jq -r .password <<<"$credential") psql -XAtqw -h 127.0.0.1 -U "$user" -c 'SELECT 1' >/dev/null 2>"$OUT.refusal"; then
			echo "$user ok"
		else
			echo "$user failed: $(cat "$OUT.refusal")"
		fi
	done >"$OUT.logins"
}
# logged_in USER: the client has logged in as USER last.
logged_in() { tail -n 1 "$OUT.logins" 2>/dev/null | grep -q "^$1 ok"; }

explain "A client reads the credential and logs in, again and again, while the password is rotated four times."
reconnect &
for user in demo_shop_b demo_shop_a demo_shop_b demo_shop_a; do
	show '.' <<<'hyperion-vault rotate demo/shop'
	wait_for 20 logged_in "$user" || die "the client did not log in as $user: $(tail -n 1 "$OUT.logins")"
done
touch "$OUT.stop"
wait
show '^logins: .*failed logins: 0$' <<'E'
echo "logins: $(grep -c ' ok$' "$OUT.logins"), failed logins: $(grep -c ' failed' "$OUT.logins")"
E

explain "Clients of Vault and OpenBao read and write the same secrets, unmodified."
if client=$(command -v bao || command -v vault); then
	# shellcheck disable=SC2034 # shown commands use it
	CLIENT=${client##*/}
	export BAO_TOKEN=$VAULT_ADMIN_TOKEN BAO_ADDR=$VAULT_ADDR
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
  VAULT_TOKEN=\$VAULT_ADMIN_TOKEN bin/hyperion-vault ls
  psql                        # as superuser; psql -U app as the role of this demo

and stop it with

  make down                   # the data stays; make purge deletes it
E
