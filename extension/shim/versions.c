/*
 * versions.c: secrets without a value, and versions that are deleted, undeleted or destroyed.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "golib.h"
#include "readonly.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define ORIGIN_TYPES	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

static HvStatement create_statement = {
	"SELECT i.current_version FROM vault.store_metadata($1, $2, $3,"
	" ROW($4, $5, NULL, NULL, NULL, NULL, NULL, $6, $7, $8)::vault.secret_settings, ROW($9, $10)::vault.version_settings,"
	" ROW($11, $12, $13, $14, $15)::vault.audit_origin) i",
	15, {UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, INT8OID, INT4OID, JSONBOID, BOOLOID, INT8OID, ORIGIN_TYPES}
};
static HvStatement change_statement = {
	"SELECT vault.change_versions($1, $2, $3, ROW($4, $5, $6, $7, $8)::vault.audit_origin)",
	8, {UUIDOID, INT8ARRAYOID, TEXTOID, ORIGIN_TYPES}
};
static HvStatement settings_statement = {
	"SELECT i.current_version FROM vault.change_settings($1, $2, NULL::vault.secret_settings,"
	" ROW($3, $4)::vault.version_settings, ROW($5, $6, $7, $8, $9)::vault.audit_origin) i",
	9, {UUIDOID, INT8OID, BOOLOID, INT8OID, ORIGIN_TYPES}
};
static HvStatement condition_statement = {
	"SELECT vault.require_condition($1)", 1, {TEXTOID}
};
static HvStatement list_statement = {
	"SELECT l.* FROM vault.versions_for($1, $2) l", 2, {OIDOID, TEXTOID}
};

/*
 * A function of the schema; InvalidOid if it has none. It may be older than this library, until ALTER EXTENSION UPDATE.
 */
Oid
HvFunction(const char *name, const Oid *types, int n)
{
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name), PointerGetDatum(buildoidvector(types, n)),
						   ObjectIdGetDatum(get_namespace_oid(HV_SCHEMA_NAME, false)));
}

bool
HvHasFunction(const char *name, const Oid *types, int n)
{
	return OidIsValid(HvFunction(name, types, n));
}

/*
 * ereport if the secret of the call's name requires each update to name the version that it replaces. A schema that is
 * older than this library has no such secret.
 */
void
HvRequireCondition(HvCall *call)
{
	HvParams	params = {0};
	Oid			types[] = {TEXTOID};

	if (!HvHasFunction("require_condition", types, lengthof(types)))
		return;
	SPI_connect();
	HvAddText(&params, call->name);
	HvOwnerLook(&condition_statement, &params);
	SPI_finish();
}

/*
 * Arguments: name, content_type, description, tags, grace_period_secs, keep_versions, generate_policy, cas_required,
 * delete_version_after_secs.
 */
static Datum
CreateMetadata(HvCall *call, FunctionCallInfo fcinfo)
{
	HvSettings	settings;
	HvParams	params = {0};
	HvBytes		policy;
	HvBytes		content_type;
	int64		version;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvRequire(call, call->action);
	HvRequireWritable();
	for (int i = 0; i < HV_SETTINGS; i++)
		settings.values[i] = (NullableDatum) {(Datum) 0, true};
	settings.values[HV_GENERATE_POLICY] = Arg(fcinfo, 6);
	policy = HvCheckSettings(&settings);
	content_type = HvContentTypeArg(fcinfo, 1);
	if (policy.len > 0)
		HV_CALL_GO(check_field, policy, false, content_type, (HvBytes) {NULL, 0});

	SPI_connect();
	HvAddUuid(&params, HvNewId());
	HvAddText(&params, call->name);
	HvAddText(&params, content_type);
	for (int i = 2; i < 9; i++)
		HvAddNullable(&params, Arg(fcinfo, i));
	HvAddOrigin(&params, call);
	HvOwnerRun(&create_statement, &params);
	version = HvReturnedVersion();
	SPI_finish();
	return Int64GetDatum(version);
}

/*
 * Do what the call's action says with versions of a locked secret; returns an array of those that were changed, palloc'd in
 * the call's context.
 */
static Datum
ChangeVersions(HvCall *call, FunctionCallInfo fcinfo)
{
	bool		undelete = strcmp(call->action, "undelete_version") == 0;
	HvLocked	locked;
	HvParams	params = {0};
	MemoryContext spi;
	Datum		changed;
	bool		isnull;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, undelete ? "update" : "delete", (NullableDatum) {(Datum) 0, true}, &locked);

	SPI_connect();
	HvAddUuid(&params, locked.id);
	HvAddNullable(&params, Arg(fcinfo, 1));
	HvAddText(&params, HvLiteral(call->action));
	HvAddOrigin(&params, call);
	HvOwnerRun(&change_statement, &params);
	spi = MemoryContextSwitchTo(call->context);
	changed = PointerGetDatum(DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return changed;
}

static Datum
SetVersionSettings(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;
	HvParams	params = {0};

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, "update", (NullableDatum) {(Datum) 0, true}, &locked);

	SPI_connect();
	HvAddUuid(&params, locked.id);
	HvAdd(&params, Int64GetDatum(locked.current_version));
	HvAddNullable(&params, Arg(fcinfo, 1));
	HvAddNullable(&params, Arg(fcinfo, 2));
	HvAddOrigin(&params, call);
	HvOwnerRun(&settings_statement, &params);
	SPI_finish();
	PG_RETURN_VOID();
}

static Datum
ListVersions(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddText(&params, call->name);
	HvOwnerLookRows(&list_statement, &params, fcinfo);
	HvRecord(call, "ok", "");
	return (Datum) 0;
}

HV_FUNCTION(hv_create_metadata, "create", CreateMetadata)
HV_FUNCTION(hv_delete_versions, "delete_version", ChangeVersions)
HV_FUNCTION(hv_undelete_versions, "undelete_version", ChangeVersions)
HV_FUNCTION(hv_destroy_versions, "destroy_version", ChangeVersions)
HV_FUNCTION(hv_set_version_settings, "configure", SetVersionSettings)
HV_FUNCTION(hv_list_versions, "list", ListVersions)
