package exttest

import (
	"strconv"
	"strings"
	"testing"
)

// plannedOnce are the statements of each read and each change, as the API and the library send them. $i is the number of
// the try.
var plannedOnce = []string{
	`SELECT * FROM vault.read_as(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{1,2}', '{fill/2/2,fill/1/$i}', NULL)`,
	`SELECT vault.decide(NULL, '127.0.0.1', NULL, 'read', 'fill/1/1')`,
	`SELECT vault.decide(` + planToken + `, 'update', 'fill/1/1')`,
	`SELECT vault.decide(NULL, '127.0.0.1', ` + planBatch + `, 'read', 'fill/1/1')`,
	`SELECT * FROM vault.describe_secret('fill/1/1')`,
	`SELECT * FROM vault.read_verifiable('fill/1/1')`,
	`SELECT * FROM vault.claim_rotations('worker', 10, 60)`,
	`SELECT vault.create_secret(md5('once$i')::uuid, 'once/$i', 1, ` + planSealed + `, 'manual', 'text/plain; charset=utf-8', ` + planNoSet + `,
		vault.admit(` + planToken + `, 'create', 'once/$i', 'here', 'r'))`,
	`SELECT vault.append_version(md5('once$i')::uuid, 1, ` + planSealed + `, 'update', NULL, true, vault.admit(` + planToken + `, 'update', 'once/$i', 'here', 'r'))`,
	`SELECT f FROM vault.append_if_free(` + planToken + `, 'update', 'once/$i', 'here', 'r', md5('once$i')::uuid, 2, ` + planSealed + `, 'update') f`,
	`SELECT f FROM vault.store_if_free(` + planToken + `, 'create', 'free/$i', 'here', 'r', md5('free$i')::uuid, 1, ` + planSealed + `, 'manual', 'text/plain', NULL, NULL) f`,
	`SELECT vault.sealed_for('vault_anonymous'::regrole, 'read', 'fill/1/1', NULL)`,
	`SELECT vault.require('vault_anonymous'::regrole, 'read', 'fill/1/1'), vault.lock_for('once/$i', NULL)`,
}

// TestNothingIsPlannedAnew sends the statements of reads and changes more often than PostgreSQL needs to keep a plan. Within
// them nothing is planned once more: planning one question about grants takes longer than all that a read does.
func TestNothingIsPlannedAnew(t *testing.T) {
	c := startCluster(t, false, "shared_preload_libraries = 'pg_stat_statements,hyperion_vault'", "pg_stat_statements.track = all",
		"pg_stat_statements.track_planning = on", "hyperion_vault.rotation_enabled = off")
	b := newBench(t, c)
	b.exec("CREATE EXTENSION pg_stat_statements")
	for _, sql := range filledSQL[:len(filledSQL)-1] { // without statistics, as in a young vault
		b.exec(sql)
	}
	const times = 10
	send := func(from int) {
		for i := from; i < from+times; i++ {
			for _, sql := range plannedOnce {
				b.exec(strings.ReplaceAll(sql, "$i", strconv.Itoa(i)))
			}
		}
	}
	send(1)
	b.exec("SELECT pg_stat_statements_reset()")
	send(1 + times)
	within := " FROM pg_stat_statements WHERE NOT toplevel AND calls >= " + strconv.Itoa(times)
	if n := get[int](b.session, "SELECT count(*)::int"+within); n < len(plannedOnce) {
		t.Fatalf("only %d statements within others were seen", n)
	}
	for _, text := range column(b.session, "SELECT plans || ' times in ' || calls || ' calls: ' || left(query, 300)"+within+" AND plans > calls / 2") {
		t.Errorf("planned again %s", text)
	}
}
