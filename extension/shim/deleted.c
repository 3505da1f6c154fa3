/*
 * deleted.c: deleted secrets, which are either kept for a time to be restored, or leave nothing.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "catalog/pg_type.h"
#include "golib.h"
#include "readonly.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define ORIGIN_TYPES	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

static HvStatement destroy_statement = {
	"SELECT vault.destroy_secret($1, $2, ROW($3, $4, $5, $6, $7)::vault.audit_origin)",
	7, {UUIDOID, INT8OID, ORIGIN_TYPES}
};
static HvStatement name_statement = {
	"SELECT vault.deleted_name($1)", 1, {UUIDOID}
};
static HvStatement restore_statement = {
	"SELECT i.current_version FROM vault.restore_secret($1, ROW($2, $3, $4, $5, $6)::vault.audit_origin) i",
	6, {UUIDOID, ORIGIN_TYPES}
};
static HvStatement destroy_deleted_statement = {
	"SELECT vault.destroy_deleted($1, ROW($2, $3, $4, $5, $6)::vault.audit_origin)",
	6, {UUIDOID, ORIGIN_TYPES}
};
static HvStatement list_statement = {
	"SELECT l.* FROM vault.list_deleted($1, NULL, $2, NULL) l", 2, {OIDOID, TEXTOID}
};

static Datum
DestroySecret(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;
	HvParams	params = {0};

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, call->action, Arg(fcinfo, 1), &locked);

	SPI_connect();
	HvAddUuid(&params, locked.id);
	HvAdd(&params, Int64GetDatum(locked.current_version));
	HvAddOrigin(&params, call);
	HvOwnerRun(&destroy_statement, &params);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * Make the name of the deleted secret of the first argument the call's, and ereport unless the caller has a right on it.
 */
static void
RequireOfDeleted(HvCall *call, FunctionCallInfo fcinfo, const char *wanted)
{
	HvParams	params = {0};
	MemoryContext spi;
	Datum		name;
	bool		isnull;

	RequireArg(fcinfo, 0, "id");
	HvRequireWritable();
	SPI_connect();
	HvAdd(&params, PG_GETARG_DATUM(0));
	HvOwnerLook(&name_statement, &params);
	spi = MemoryContextSwitchTo(call->context);
	name = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		call->name = HvLiteral(TextDatumGetCString(name));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no deleted secret with this id"),
				 errhint("List those that can be restored: SELECT * FROM vault.list_deleted_secrets();")));
	HvRequire(call, wanted);
}

static void
AddDeleted(HvParams *params, HvCall *call, FunctionCallInfo fcinfo)
{
	HvAdd(params, PG_GETARG_DATUM(0));
	HvAddOrigin(params, call);
}

static Datum
RestoreSecret(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	int64		version;

	RequireOfDeleted(call, fcinfo, "create");
	SPI_connect();
	AddDeleted(&params, call, fcinfo);
	HvOwnerRun(&restore_statement, &params);
	version = HvReturnedVersion();
	SPI_finish();
	return Int64GetDatum(version);
}

static Datum
DestroyDeleted(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};

	RequireOfDeleted(call, fcinfo, "delete");
	SPI_connect();
	AddDeleted(&params, call, fcinfo);
	HvOwnerRun(&destroy_deleted_statement, &params);
	SPI_finish();
	PG_RETURN_VOID();
}

static Datum
ListDeleted(HvCall *call, FunctionCallInfo fcinfo)
{
	HvBytes		prefix = {(const unsigned char *) "", 0};
	HvParams	params = {0};

	if (!PG_ARGISNULL(0))
		prefix = HvTextBytes(PG_GETARG_TEXT_PP(0));
	HV_CALL_GO(check_prefix, prefix);
	call->name = (HvBytes) {prefix.data, Min(prefix.len, HV_MAX_NAME_LEN)};
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAdd(&params, PointerGetDatum(cstring_to_text_with_len((const char *) prefix.data, prefix.len)));
	HvOwnerLookRows(&list_statement, &params, fcinfo);
	HvRecord(call, "ok", "");
	return (Datum) 0;
}

HV_FUNCTION(hv_destroy_secret, "delete", DestroySecret)
HV_FUNCTION(hv_restore_secret, "restore", RestoreSecret)
HV_FUNCTION(hv_destroy_deleted_secret, "destroy", DestroyDeleted)
HV_FUNCTION(hv_list_deleted_secrets, "list", ListDeleted)
