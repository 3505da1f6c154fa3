/*
 * openable.c: which sealed versions a caller may open, and what is stored of them.
 */
#include "hyperion_vault.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

/* the decision and the fetch in one, as vault.may() decides; no row for what is refused or missing */
static HvStatement readable_statement = {
	"SELECT " HV_STORED_COLUMNS " FROM vault.readable_versions(ARRAY[$3], $4) v"
	" WHERE EXISTS (SELECT FROM vault.granting($1, $2, vault.matching_patterns($3)))",
	4, {OIDOID, TEXTOID, TEXTOID, INT8OID}, true
};
/* the same for a superuser, who may read everything */
static HvStatement present_statement = {
	"SELECT " HV_STORED_COLUMNS " FROM vault.readable_versions(ARRAY[$1], $2) v", 2, {TEXTOID, INT8OID}, true
};
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
 * Run a statement for the versions that the caller may open; the number found. Palloc'd in the call's context.
 */
static int
FindVersions(HvStatement *statement, HvCall *call, HvOpenable *found)
{
	HvParams	params = {0};
	MemoryContext spi;

	SPI_connect();
	if (statement != &present_statement)
	{
		HvAdd(&params, ObjectIdGetDatum(call->role));
		HvAddText(&params, HvLiteral(call->action));
	}
	HvAddText(&params, call->name);
	if (call->version == 0)
		HvAddNull(&params);
	else
		HvAdd(&params, Int64GetDatum(call->version));
	HvOwnerLook(statement, &params);

	spi = MemoryContextSwitchTo(call->context);
	found->n = (int) SPI_processed;
	found->versions = palloc_array(HvStored, found->n);
	for (int i = 0; i < found->n; i++)
		HvReadStored(SPI_tuptable->vals[i], &found->id, &found->content_type, &found->versions[i]);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return found->n;
}

/*
 * The versions that the caller may open: one to read, every valid one to verify. ereports if it may not, or there
 * is none. Palloc'd in the call's context.
 */
void
HvFindOpenable(HvCall *call, HvOpenable *found)
{
	if (FindVersions(&openable_statement, call, found) < 1)
		elog(ERROR, "no version was returned");
}

/*
 * Whether the schema has what readable_statement runs. It may be older than this library, until ALTER EXTENSION UPDATE.
 */
static bool
HasReadableVersions(void)
{
	static bool has = false;
	Oid			types[] = {TEXTARRAYOID, INT8OID};

	if (!has)
		has = SearchSysCacheExists3(PROCNAMEARGSNSP, CStringGetDatum("readable_versions"),
									PointerGetDatum(buildoidvector(types, lengthof(types))),
									ObjectIdGetDatum(get_namespace_oid(HV_SCHEMA_NAME, false)));
	return has;
}

/*
 * The one version that the caller may read, in one statement. What that does not find is asked of vault.sealed_for(),
 * which has the words of a refusal. Palloc'd in the call's context.
 */
void
HvFindReadable(HvCall *call, HvOpenable *found)
{
	HvStatement *statement = HvIsSuperuser(call->role) ? &present_statement : &readable_statement;

	if (!HasReadableVersions() || FindVersions(statement, call, found) < 1)
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
