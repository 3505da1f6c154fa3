/*
 * lock.c: locks the secret that a plaintext function changes.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "readonly.h"
#include "runas.h"
#include "sealed.h"
#include "tablewrite.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

static HvStatement lock_statement = {
	"SELECT i.id, i.content_type, i.current_version, i.kind, i.generate_policy"
	" FROM vault.lock_for($1, $2) i WHERE i.id IS NOT NULL",
	2, {TEXTOID, INT8OID}
};
enum LockedColumn
{
	LOCKED_NAME, LOCKED_ID, LOCKED_CONTENT_TYPE, LOCKED_CURRENT, LOCKED_KIND, LOCKED_POLICY, LOCKED_BOUND, LOCKED_CONDITIONAL
};

static HvTable locked_table = {
	"secrets", "secrets_name_key", "deleted_at", 1,
	{
		[LOCKED_NAME] = {"name", TEXTOID},
		[LOCKED_ID] = {"id", UUIDOID},
		[LOCKED_CONTENT_TYPE] = {"content_type", TEXTOID},
		[LOCKED_CURRENT] = {"current_version", INT8OID},
		[LOCKED_KIND] = {"kind", TEXTOID},
		[LOCKED_POLICY] = {"generate_policy", JSONBOID},
		[LOCKED_BOUND] = {"bound", BOOLOID},
		[LOCKED_CONDITIONAL] = {"cas_required", BOOLOID},
	}
};

/* as vault.lock_row_for() does it, without the function and its row of all columns; it also has what others change meanwhile */
static HvStatement lock_row_statement = {
	"SELECT s.id, s.content_type, s.current_version, s.kind, s.generate_policy, s.bound, s.cas_required"
	" FROM vault.secrets s WHERE s.name OPERATOR(pg_catalog.=) $1 AND s.deleted_at IS NULL FOR NO KEY UPDATE",
	1, {TEXTOID}, .by_index = true
};
static HvStatement stale_statement = {
	"SELECT vault.raise_stale($1, $2, $3)", 3, {TEXTOID, INT8OID, INT8OID}
};
static HvStatement missing_statement = {
	"SELECT vault.raise_missing($1)", 1, {TEXTOID}
};

/*
 * ereport that there is no secret to lock, or that the transaction is too old to see it.
 */
static void
RaiseMissing(HvCall *call)
{
	HvParams	params = {0};

	HvAddText(&params, call->name);
	HvOwnerLook(&missing_statement, &params);
	elog(ERROR, "no secret was locked");
}

/*
 * Whether the schema knows of roles that secrets are bound to.
 */
bool
HvHasBindings(void)
{
	static bool has = false;
	Oid			types[] = {TEXTOID, INT8OID};

	if (!has)
		has = HvHasFunction("lock_row_for", types, lengthof(types));
	return has;
}

/*
 * Lock the row of the call's name, and have it in SPI_tuptable. ereports if there is none, or it is at another version than
 * the expected one.
 */
static HeapTuple
LockRow(HvCall *call, NullableDatum expected_version, bool has_bindings)
{
	HvParams	params = {0};
	HeapTuple	row;

	HvAddText(&params, call->name);
	if (!has_bindings)
		HvAddNullable(&params, expected_version);
	HvOwnerRun(has_bindings ? &lock_row_statement : &lock_statement, &params);
	if (SPI_processed != 1)
		RaiseMissing(call);
	row = SPI_tuptable->vals[0];
	if (!expected_version.isnull && DatumGetInt64(HvColumn(row, 3)) != DatumGetInt64(expected_version.value))
	{
		params.n = 1;
		HvAdd(&params, HvColumn(row, 3));
		HvAdd(&params, expected_version.value);
		HvOwnerLook(&stale_statement, &params);
	}
	return row;
}

/*
 * Lock the row of the call's name by a statement, which has the words of each refusal.
 */
static void
LockByStatement(HvCall *call, NullableDatum expected_version, HvLocked *locked)
{
	MemoryContext spi;
	HeapTuple	row;
	HvBytes		kind;
	bool		isnull;
	Datum		policy;
	bool		has_bindings = HvHasBindings();

	SPI_connect();
	row = LockRow(call, expected_version, has_bindings);
	spi = MemoryContextSwitchTo(call->context);
	locked->id = HvColumnUuid(row, 1);
	locked->content_type = HvColumnBytes(row, 2);
	locked->current_version = DatumGetInt64(HvColumn(row, 3));
	kind = HvColumnBytes(row, 4);
	locked->automatic = strcmp((const char *) kind.data, "automatic") == 0;
	policy = SPI_getbinval(row, SPI_tuptable->tupdesc, 5, &isnull);
	locked->policy = isnull ? (HvBytes) {NULL, 0} : HvJsonText(policy);
	locked->bound = has_bindings && DatumGetBool(HvColumn(row, 6));
	locked->conditional = !has_bindings || DatumGetBool(HvColumn(row, 7));
	MemoryContextSwitchTo(spi);
	SPI_finish();
}

/*
 * What a row of the table says of the secret. Palloc'd.
 */
static void
ReadLocked(HvScan *scan, HeapTuple row, HvLocked *locked)
{
	bool		isnull;
	Datum		policy = HvField(scan, row, LOCKED_POLICY, &isnull);

	unsigned char *id = palloc(HV_ID_LEN);

	memcpy(id, DatumGetUUIDP(HvFieldNotNull(scan, row, LOCKED_ID))->data, HV_ID_LEN);
	locked->id = (HvBytes) {id, HV_ID_LEN};
	locked->content_type = HvLiteral(TextDatumGetCString(HvFieldNotNull(scan, row, LOCKED_CONTENT_TYPE)));
	locked->current_version = DatumGetInt64(HvFieldNotNull(scan, row, LOCKED_CURRENT));
	locked->automatic = strcmp(TextDatumGetCString(HvFieldNotNull(scan, row, LOCKED_KIND)), "automatic") == 0;
	locked->policy = isnull ? (HvBytes) {NULL, 0} : HvJsonText(policy);
	locked->bound = DatumGetBool(HvFieldNotNull(scan, row, LOCKED_BOUND));
	locked->conditional = DatumGetBool(HvFieldNotNull(scan, row, LOCKED_CONDITIONAL));
}

typedef enum Outcome
{
	LOCKED,
	SEEN,						/* and not locked */
	UNUSUAL						/* a statement has to do it, or to refuse it */
} Outcome;

/*
 * Lock a row that was found, unless it is to be seen only.
 */
static Outcome
LockFound(HvTarget *secrets, HeapTuple row, bool unless_bound, HvLocked *locked)
{
	Outcome		outcome = SEEN;

	if (row == NULL)
		return UNUSUAL;
	if (!unless_bound || !DatumGetBool(HvFieldNotNull(&secrets->scan, row, LOCKED_BOUND)))
		outcome = HvLockRow(secrets, row, LockTupleNoKeyExclusive) ? LOCKED : UNUSUAL;
	if (outcome != UNUSUAL)
		ReadLocked(&secrets->scan, row, locked);
	return outcome;
}

/*
 * Find and lock the row of the call's name without a statement. One that is bound may be seen only.
 */
static Outcome
LockDirectly(HvCall *call, NullableDatum expected_version, bool unless_bound, HvLocked *locked)
{
	HvWrites	writes;
	HvTarget	secrets;
	Datum		name = PointerGetDatum(cstring_to_text_with_len((const char *) call->name.data, (int) call->name.len));
	Outcome		outcome;

	if (!HvOpenTarget(&locked_table, &secrets))
		return UNUSUAL;
	HvBeginWrites(&writes);
	HvBeginScan(&secrets.scan, GetActiveSnapshot(), 1, &name);
	outcome = LockFound(&secrets, HvNextRow(&secrets.scan), unless_bound, locked);
	HvEndScan(&secrets.scan);
	if (outcome == LOCKED)
		HvCloseTarget(&secrets);
	else
		HvReleaseTarget(&secrets);
	HvEndWrites(&writes);
	if (outcome != UNUSUAL && !expected_version.isnull && locked->current_version != DatumGetInt64(expected_version.value))
		return UNUSUAL;
	return outcome;
}

void
HvLock(HvCall *call, const char *wanted, NullableDatum expected_version, HvLocked *locked)
{
	HvRequire(call, wanted);
	HvRequireWritable();
	HvLockAllowed(call, expected_version, locked);
}

void
HvLockAllowed(HvCall *call, NullableDatum expected_version, HvLocked *locked)
{
	if (LockDirectly(call, expected_version, false, locked) != LOCKED)
		LockByStatement(call, expected_version, locked);
}

bool
HvLockUnlessBound(HvCall *call, const char *wanted, NullableDatum expected_version, HvLocked *locked)
{
	Outcome		outcome;

	HvRequire(call, wanted);
	HvRequireWritable();
	outcome = LockDirectly(call, expected_version, true, locked);
	if (outcome == UNUSUAL)
		LockByStatement(call, expected_version, locked);
	return outcome != SEEN;
}

static bool
Equal(HvBytes a, HvBytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool
HvIsAsSeen(const HvLocked *seen, const HvLocked *locked)
{
	return Equal(seen->id, locked->id) && seen->current_version == locked->current_version &&
		Equal(seen->content_type, locked->content_type) && Equal(seen->policy, locked->policy) &&
		seen->automatic == locked->automatic && seen->bound == locked->bound;
}
