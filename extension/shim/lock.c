/*
 * lock.c: locks the secret that a plaintext function changes.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "readonly.h"
#include "runas.h"
#include "sealed.h"

static HvStatement lock_statement = {
	"SELECT i.id, i.content_type, i.current_version, i.kind, i.generate_policy"
	" FROM vault.lock_for($1, $2) i WHERE i.id IS NOT NULL",
	2, {TEXTOID, INT8OID}
};
/* as vault.lock_row_for() does it, without the function and its row of all columns */
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
 * Lock the secret that the caller wants to change, by the right to do so. ereports if it may not, there is none, the
 * expected version is stale, or the transaction's snapshot is. Palloc'd in the call's context.
 */
void
HvLock(HvCall *call, const char *wanted, NullableDatum expected_version, HvLocked *locked)
{
	MemoryContext spi;
	HeapTuple	row;
	HvBytes		kind;
	bool		isnull;
	Datum		policy;
	bool		has_bindings = HvHasBindings();

	HvRequire(call, wanted);
	HvRequireWritable();
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
