/*
 * openable.c: which sealed versions a caller may open, and what is stored of them.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "granting.h"
#include "miscadmin.h"
#include "readable.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

static HvStatement openable_statement = {
	"SELECT " HV_STORED_COLUMNS " FROM vault.sealed_for($1, $2, $3, $4) v",
	4, {OIDOID, TEXTOID, TEXTOID, INT8OID}
};
static HvStatement readable_names_statement = {
	"SELECT vault.readable_names($1, $2)", 2, {OIDOID, TEXTOID}
};

/*
 * Whether a role is a superuser, by what is committed now.
 */
bool
HvIsSuperuser(Oid role)
{
	AcceptInvalidationMessages();
	return superuser_arg(role);
}

/*
 * The versions that the caller may open: one to read, every valid one to verify. ereports if it may not, or there
 * is none. Palloc'd in the call's context.
 */
void
HvFindOpenable(HvCall *call, HvOpenable *found)
{
	HvParams	params = {0};
	MemoryContext spi;

	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddText(&params, HvLiteral(call->action));
	HvAddText(&params, call->name);
	if (call->version == 0)
		HvAddNull(&params);
	else
		HvAdd(&params, Int64GetDatum(call->version));
	HvOwnerLook(&openable_statement, &params);

	spi = MemoryContextSwitchTo(call->context);
	found->n = (int) SPI_processed;
	found->versions = palloc_array(HvStored, found->n);
	for (int i = 0; i < found->n; i++)
		HvReadStored(SPI_tuptable->vals[i], &found->id, &found->content_type, &found->versions[i]);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	if (found->n < 1)
		elog(ERROR, "no version was returned");
}

/*
 * Decide and fetch with open tables, on what is committed now and done by this transaction, as HvOwnerLook does. The snapshot
 * is taken when the tables are locked: an older one might not see rows that were moved before.
 */
static bool
FindByIndex(HvCall *call, HvGrantTables *grants, HvSecretTables *secrets, HvOpenable *found)
{
	Snapshot	snapshot;
	bool		finds;

	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	snapshot = GetActiveSnapshot();
	finds = (grants == NULL || HvIsGranted(grants, snapshot, call->role, HvLiteral(call->action), call->name)) &&
		HvFetchReadable(secrets, snapshot, call->name, call->version, call->context, found);
	PopActiveSnapshot();
	return finds;
}

/*
 * Find the one version that the caller may read by the indexes; false if there is none, or the tables are not as expected.
 */
static bool
ScanForReadable(HvCall *call, HvOpenable *found)
{
	bool		super = HvIsSuperuser(call->role);
	HvGrantTables grants;
	HvSecretTables secrets;
	bool		finds;

	if (!super && !HvOpenGrants(&grants))
		return false;
	finds = HvOpenSecrets(&secrets);
	if (finds)
	{
		finds = FindByIndex(call, super ? NULL : &grants, &secrets, found);
		HvCloseSecrets(&secrets);
	}
	if (!super)
		HvCloseGrants(&grants);
	return finds;
}

/*
 * The one version that the caller may read. What the indexes do not find is asked of vault.sealed_for(), which has the words of
 * a refusal, and finds what an index of another schema has. Palloc'd in the call's context.
 */
void
HvFindReadable(HvCall *call, HvOpenable *found)
{
	if (!ScanForReadable(call, found))
		HvFindOpenable(call, found);
}

/*
 * The names below a prefix that the caller may read, in byte order. Palloc'd in the call's context.
 */
ArrayType *
HvReadableNames(HvCall *call, HvBytes prefix)
{
	HvParams	params = {0};
	ArrayType  *names;
	bool		isnull;
	MemoryContext spi;

	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAdd(&params, PointerGetDatum(cstring_to_text_with_len((const char *) prefix.data, prefix.len)));
	HvOwnerLook(&readable_names_statement, &params);
	spi = MemoryContextSwitchTo(call->context);
	names = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return names;
}
