package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// imitation is a schema like that of supabase_vault 0.3: the table, the functions that the view calls, with the same
// arguments, and the view. Its cipher is none. It stores the values backwards behind a checksum, so that a value opens only
// in its own row. It is no extension, and nothing is said here of the real one's cipher, privileges and event triggers.
const imitation = `
CREATE SCHEMA vault;
CREATE FUNCTION vault._crypto_aead_det_noncegen() RETURNS bytea LANGUAGE sql AS $$ SELECT uuid_send(gen_random_uuid()) $$;
CREATE FUNCTION vault._crypto_aead_det_decrypt(message bytea, additional bytea, key_id bigint, context bytea DEFAULT 'pgsodium', nonce bytea DEFAULT NULL)
RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF substr(message, 1, 32) <> sha256(additional || nonce || substr(message, 33)) THEN
        RAISE EXCEPTION 'invalid ciphertext' USING ERRCODE = 'XX000';
    END IF;
    RETURN decode(reverse(encode(substr(message, 33), 'hex')), 'hex');
END $$;
CREATE TABLE vault.secrets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, description text NOT NULL DEFAULT '', secret text NOT NULL, key_id uuid,
    nonce bytea DEFAULT vault._crypto_aead_det_noncegen(), created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON vault.secrets (name) WHERE name IS NOT NULL;
CREATE VIEW vault.decrypted_secrets AS
SELECT s.id, s.name, s.description, s.secret, convert_from(vault._crypto_aead_det_decrypt(message := decode(s.secret, 'base64'),
    additional := convert_to(s.id::text, 'utf8'), key_id := 0, context := 'pgsodium', nonce := s.nonce), 'utf8') AS decrypted_secret,
    s.key_id, s.nonce, s.created_at, s.updated_at
FROM vault.secrets s;
CREATE FUNCTION vault.create_secret(new_secret text, new_name text DEFAULT NULL, new_description text DEFAULT '') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    made vault.secrets;
BEGIN
    INSERT INTO vault.secrets (secret, name, description) VALUES ('', new_name, new_description) RETURNING * INTO made;
    UPDATE vault.secrets s
    SET secret = (SELECT encode(sha256(convert_to(s.id::text, 'utf8') || s.nonce || x) || x, 'base64')
                  FROM decode(reverse(encode(convert_to(new_secret, 'utf8'), 'hex')), 'hex') x)
    WHERE id = made.id;
    RETURN made.id;
END $$;
`

// TestImportFromSupabase moves from supabase_vault to this extension in one database: both have the schema vault, so that of
// supabase_vault is renamed first. What its view calls is found by its identity, and not by its name.
func TestImportFromSupabase(t *testing.T) {
	db := vaulttest.NewDB(t)
	db.MustExec(t, "DROP EXTENSION hyperion_vault")
	db.MustExec(t, imitation)
	conn := db.MustConnect(t, vaulttest.Superuser)
	var anonymous string
	if err := conn.QueryRow(t.Context(), "SELECT vault.create_secret($1)", marker+" without a name").Scan(&anonymous); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"app/db": marker + "\n\"ü\\", "plain": `{"k":"` + marker + `"}`, "we ird": marker, "damaged": marker, "moved": marker, "empty": "",
		"large": strings.Repeat("x", 70<<10)} {
		if _, err := conn.Exec(t.Context(), "SELECT vault.create_secret($1, $2, $3)", value, name, "of "+name); err != nil {
			t.Fatal(err)
		}
	}
	db.MustExec(t, "UPDATE vault.secrets SET secret = encode(decode(secret, 'base64') || '\\x00', 'base64') WHERE name = 'damaged'")
	db.MustExec(t, "UPDATE vault.secrets SET secret = (SELECT secret FROM vault.secrets WHERE name = 'plain') WHERE name = 'moved'")
	db.MustExec(t, "ALTER SCHEMA vault RENAME TO supabase_vault")
	db.MustExec(t, "CREATE EXTENSION hyperion_vault")
	db.MustExec(t, "SELECT vault.grant_service_role('"+vaulttest.ServiceRole+"')")

	p := &pair{target: vaulttest.NewServer(t, db), db: db}
	p.source = p.target
	p.flags = p.to(t, p.target.URL)
	p.env = []string{"PGHOST=" + db.Cluster.Dir(), fmt.Sprintf("PGPORT=%d", pgtest.Port), "PGDATABASE=" + db.Name, "PGUSER=" + vaulttest.Superuser}
	from := []string{"--from", "supabase", "--source-schema", "supabase_vault", "--below", "old"}
	stdout, stderr := p.run(t, 1, from...)
	has(t, stdout, "imported: 3 (versions: 3)\n", "not imported: 5\n", "not imported: damaged: the source cannot decrypt it: SQLSTATE XX000\n",
		"not imported: moved: the source cannot decrypt it", `not imported: "we ird": name has`, "not imported: old/empty: the API answers 400", "not imported: old/large: the API answers 4")
	has(t, stderr, "old/app/db: imported, versions: 1\n")
	if v := p.target.MustRead(t, "old/app/db"); v != marker+"\n\"ü\\" {
		t.Errorf("%q", v)
	}
	if v := p.target.MustRead(t, "old/plain"); v != `{"k":"`+marker+`"}` { // text stays text
		t.Errorf("%q", v)
	}
	if v := p.target.MustRead(t, "old/"+anonymous); v != marker+" without a name" {
		t.Errorf("%q", v)
	}
	if _, answer := p.target.Do(t, "GET", "/v1/metadata/old/app/db", nil); !strings.Contains(answer, `"description":"of app/db"`) || !strings.Contains(answer, "text/plain") {
		t.Errorf("%s", answer)
	}
	stdout, _ = p.run(t, 1, from...)
	has(t, stdout, "imported: 0 (versions: 0)\nthere already: 3\n")
	p.supabaseErrors(t)
}

func (p *pair) supabaseErrors(t *testing.T) {
	t.Helper()
	_, stderr := p.run(t, 1, "--from", "supabase", "--source-schema", "vault")
	has(t, stderr, "is that of HyperionDB Vault: --source-schema names")
	_, stderr = p.run(t, 1, "--from", "supabase", "--source-schema", `no"ne`)
	has(t, stderr, "has no view decrypted_secrets")
	env := p.env
	p.db.MustExec(t, "DO $$ BEGIN CREATE ROLE hv_supabase_nobody LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	p.env = append([]string{"PGUSER=hv_supabase_nobody"}, env[:3]...)
	_, stderr = p.run(t, 1, "--from", "supabase", "--source-schema", "supabase_vault")
	has(t, stderr, "permission denied")
	p.env = append([]string{"PGHOST=192.0.2.1", "PGPASSWORD=" + marker, "PGSSLMODE=require"}, env[1:]...)
	_, stderr = p.run(t, 1, "--from", "supabase", "--source-schema", "supabase_vault")
	has(t, stderr, "set PGSSLMODE=verify-full")
}
