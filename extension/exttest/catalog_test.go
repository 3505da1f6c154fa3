package exttest

import (
	"slices"
	"testing"
)

// catalogQuery returns one line for each property of each object in the schema, with names for OIDs: two installations
// with the same lines behave alike. Columns that were dropped leave no line, so what counts is the order of the others.
const catalogQuery = `
	WITH ext AS (SELECT * FROM pg_extension WHERE extname = 'hyperion_vault'),
	rel AS (SELECT c.*, c.oid::regclass::text AS name FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace),
	acl(object, items) AS (
		SELECT 'function ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'vault'::regnamespace
		UNION ALL SELECT 'relation ' || name, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM rel WHERE relkind IN ('r', 'p', 'S', 'v')
		UNION ALL SELECT 'type ' || oid::regtype, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typnamespace = 'vault'::regnamespace
		UNION ALL SELECT 'schema', nspacl FROM pg_namespace WHERE nspname = 'vault')
	SELECT concat_ws(' ', 'member', i.type, i.identity) FROM ext, pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) i
		WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid AND d.deptype = 'e'
	UNION ALL SELECT concat_ws(' ', 'dumped', t::oid::regclass, ext.extcondition[i])
		FROM ext, unnest(ext.extconfig) WITH ORDINALITY AS c(t, i)
	UNION ALL SELECT concat_ws(' ', 'acl', object, x.grantor::regrole, x.grantee::regrole, x.privilege_type, x.is_grantable)
		FROM acl, aclexplode(items) x
	UNION ALL SELECT concat_ws(' ', 'function', p.oid::regprocedure, pg_get_userbyid(proowner), md5(pg_get_functiondef(p.oid)))
		FROM pg_proc p WHERE pronamespace = 'vault'::regnamespace
	UNION ALL SELECT concat_ws(' ', 'relation', name, relkind, pg_get_userbyid(relowner), relrowsecurity,
		relforcerowsecurity, relpersistence, reloptions, relreplident, pg_get_partkeydef(oid), pg_get_viewdef(oid)) FROM rel
	UNION ALL SELECT concat_ws(' ', 'column', name, row_number() OVER (PARTITION BY rel.oid ORDER BY attnum), attname,
		format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage, attcompression, attstattarget, attcollation::regcollation,
		attacl, pg_get_expr(adbin, adrelid))
		FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = rel.oid AND d.adnum = attnum
	UNION ALL SELECT concat_ws(' ', 'constraint', name, conname, contype, convalidated, pg_get_constraintdef(k.oid))
		FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid
	UNION ALL SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid, indisreplident)
		FROM pg_index JOIN rel ON rel.oid = indrelid
	UNION ALL SELECT concat_ws(' ', 'policy', name, polname, polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid),
		pg_get_expr(polwithcheck, polrelid)) FROM rel JOIN pg_policy ON polrelid = rel.oid
	UNION ALL SELECT concat_ws(' ', 'trigger', name, tgenabled, pg_get_triggerdef(g.oid)) FROM rel JOIN pg_trigger g ON tgrelid = rel.oid AND NOT tgisinternal
	UNION ALL SELECT concat_ws(' ', 'event trigger', evtname, evtevent, pg_get_userbyid(evtowner), evtfoid::regprocedure, evtenabled, evttags) FROM pg_event_trigger
	UNION ALL SELECT concat_ws(' ', 'rule', name, pg_get_ruledef(w.oid)) FROM rel JOIN pg_rewrite w ON ev_class = rel.oid
	UNION ALL SELECT concat_ws(' ', 'sequence', name, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
		FROM rel JOIN pg_sequence ON seqrelid = rel.oid
	UNION ALL SELECT concat_ws(' ', 'type', t.oid::regtype, typtype, pg_get_userbyid(typowner), typnotnull, typdefault, typbasetype::regtype)
		FROM pg_type t WHERE typnamespace = 'vault'::regnamespace
	UNION ALL SELECT concat_ws(' ', 'type constraint', contypid::regtype, conname, pg_get_constraintdef(oid)) FROM pg_constraint
		WHERE contypid <> 0 AND connamespace = 'vault'::regnamespace
	UNION ALL SELECT concat_ws(' ', 'enum', enumtypid::regtype, row_number() OVER (PARTITION BY enumtypid ORDER BY enumsortorder), enumlabel)
		FROM pg_enum JOIN pg_type t ON t.oid = enumtypid AND typnamespace = 'vault'::regnamespace
	UNION ALL SELECT concat_ws(' ', 'cast', castsource::regtype, casttarget::regtype, castcontext) FROM pg_cast, ext
		WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = pg_cast.oid AND d.refobjid = ext.oid)
	UNION ALL SELECT concat_ws(' ', 'comment', i.type, i.identity, d.description) FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
		WHERE i.identity LIKE '%vault%' AND i.schema IS NOT DISTINCT FROM CASE WHEN i.type IN ('schema', 'event trigger', 'policy', 'table constraint', 'table column') THEN i.schema ELSE 'vault' END
	ORDER BY 1`

func catalogOf(admin *session) []string {
	admin.t.Helper()
	return column(admin, catalogQuery)
}

// sameCatalog fails the test for each line that only one of the two has.
func sameCatalog(t *testing.T, upgraded, fresh []string) {
	t.Helper()
	if len(fresh) < 300 {
		t.Fatalf("a fresh catalog has only %d lines", len(fresh))
	}
	for _, line := range upgraded {
		if !slices.Contains(fresh, line) {
			t.Errorf("only after the upgrade: %s", line)
		}
	}
	for _, line := range fresh {
		if !slices.Contains(upgraded, line) {
			t.Errorf("only in a fresh installation: %s", line)
		}
	}
}
