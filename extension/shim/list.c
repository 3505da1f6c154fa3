/*
 * list.c: vault.list_secrets, which shows what a caller may see, without values, whole or by pages.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "catalog/pg_type.h"
#include "golib.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"

#define MAX_PAGE	100000	/* rows, as of vault.audit() */

static HvStatement list_statement = {
	"SELECT l.* FROM vault.list_for($1, $2) l", 2, {OIDOID, TEXTOID}
};
static HvStatement page_statement = {
	"SELECT l.* FROM vault.list_page_for($1, $2, $3, $4) l", 4, {OIDOID, TEXTOID, TEXTOID, INT4OID}
};

static HvBytes
TextOrEmpty(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return (HvBytes) {(const unsigned char *) "", 0};
	return HvTextBytes(PG_GETARG_TEXT_PP(arg));
}

static HvBytes
PrefixArg(FunctionCallInfo fcinfo, int arg)
{
	HvBytes		prefix = TextOrEmpty(fcinfo, arg);

	HV_CALL_GO(check_prefix, prefix);
	return prefix;
}

/*
 * The name that a page comes after; empty for the first page.
 */
static HvBytes
AfterArg(FunctionCallInfo fcinfo, int arg)
{
	HvBytes		after = TextOrEmpty(fcinfo, arg);

	if (after.len > 0)
		HV_CALL_GO(check_name, after);
	return after;
}

static int32
PageArg(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg) || PG_GETARG_INT32(arg) < 1 || PG_GETARG_INT32(arg) > MAX_PAGE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be between 1 and %d", MAX_PAGE)));
	return PG_GETARG_INT32(arg);
}

static void
AddText(HvParams *params, HvBytes text)
{
	HvAdd(params, PointerGetDatum(cstring_to_text_with_len((const char *) text.data, text.len)));
}

static Datum
ListSecrets(HvCall *call, FunctionCallInfo fcinfo)
{
	HvBytes		prefix = PrefixArg(fcinfo, 0);
	bool		by_page = PG_NARGS() > 1;
	HvParams	params = {0};

	/* For the record: what is beyond the length of a name can only be the slash after one. */
	call->name = (HvBytes) {prefix.data, Min(prefix.len, HV_MAX_NAME_LEN)};
	HvAdd(&params, ObjectIdGetDatum(call->role));
	AddText(&params, prefix);
	if (by_page)
	{
		AddText(&params, AfterArg(fcinfo, 1));
		HvAdd(&params, Int32GetDatum(PageArg(fcinfo, 2)));
	}
	HvOwnerLookRows(by_page ? &page_statement : &list_statement, &params, fcinfo);
	HvRecord(call, "ok", "");
	return (Datum) 0;
}

HV_FUNCTION(hv_list_secrets, "list", ListSecrets)
