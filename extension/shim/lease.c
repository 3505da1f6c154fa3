/*
 * lease.c: the functions that issue, renew and revoke leases of roles.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "funcapi.h"
#include "readonly.h"
#include "rolepassword.h"
#include "runas.h"
#include "sealed.h"
#include "secretmem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define PASSWORD_BYTES	24		/* random; a multiple of three needs no padding */
#define PASSWORD_LEN	32		/* in base64url */

#define ORIGIN_TYPES \
	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

static HvStatement issue_statement = {
	"SELECT l.id, l.role_name, l.expires_at FROM vault.issue_lease($1, $2, $3, $4, ROW($5, $6, $7, $8, $9)::vault.audit_origin) l",
	9, {TEXTOID, INTERVALOID, TEXTOID, OIDOID, ORIGIN_TYPES}
};
static HvStatement renew_statement = {
	"SELECT l.expires_at FROM vault.extend_lease($1, NULL, $2, EXTRACT(epoch FROM $3)::pg_catalog.int8,"
	" ROW($4, $5, $6, $7, $8)::vault.audit_origin) l",
	8, {OIDOID, UUIDOID, INTERVALOID, ORIGIN_TYPES}
};
static HvStatement revoke_statement = {
	"SELECT l.id FROM vault.finish_lease($1, NULL, $2, ROW($3, $4, $5, $6, $7)::vault.audit_origin) l",
	7, {OIDOID, UUIDOID, ORIGIN_TYPES}
};

/*
 * A new password: 192 random bits, in the characters of base64url. In memory that is wiped.
 */
static HvBytes
NewPassword(void)
{
	uint8		raw[PASSWORD_BYTES];
	unsigned char *password = HvSecretAlloc(PASSWORD_LEN + 1);

	if (!pg_strong_random(raw, sizeof(raw)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	if (pg_b64_encode((void *) raw, sizeof(raw), (char *) password, PASSWORD_LEN) != PASSWORD_LEN)
		elog(ERROR, "a password has not its length");
	explicit_bzero(raw, sizeof(raw));
	password[PASSWORD_LEN] = '\0';
	for (int i = 0; i < PASSWORD_LEN; i++)
		password[i] = password[i] == '+' ? '-' : password[i] == '/' ? '_' : password[i];
	return (HvBytes) {password, PASSWORD_LEN};
}

/*
 * Column of the one row of the last statement, not null.
 */
static Datum
Returned(int column)
{
	bool		isnull;
	Datum		value;

	if (SPI_processed != 1)
		elog(ERROR, "a statement returned %lu rows, not one", (unsigned long) SPI_processed);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
	if (isnull)
		elog(ERROR, "a statement returned null");
	return value;
}

static Datum
IssueRole(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	TupleDesc	row;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};
	HvBytes		password;
	HeapTuple	result;

	HvLogGive();				/* of the verifier our statements have */
	RequireArg(fcinfo, 0, "template");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvRequire(call, "create");
	HvRequireWritable();
	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result of hv_issue_role is not a row");
	row = BlessTupleDesc(row);
	password = NewPassword();
	SPI_connect();
	HvAddText(&params, call->name);
	HvAddNullable(&params, Arg(fcinfo, 1));
	HvAdd(&params, CStringGetTextDatum(HvScramVerifier(password)));
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddOrigin(&params, call);
	HvOwnerRun(&issue_statement, &params);
	values[0] = Returned(1);
	values[1] = Returned(2);
	values[2] = PointerGetDatum(cstring_to_text_with_len((const char *) password.data, password.len));
	values[3] = Returned(3);
	MemoryContextSwitchTo(call->context);
	result = heap_form_tuple(row, values, nulls);
	explicit_bzero(VARDATA_ANY(DatumGetPointer(values[2])), password.len);
	HvSecretWipe(password.data);
	SPI_finish();
	return HeapTupleGetDatum(result);
}

/*
 * Argument 0 is the lease, which stands in the audit in the place of a name.
 */
static void
AddLease(HvCall *call, HvParams *params, FunctionCallInfo fcinfo)
{
	RequireArg(fcinfo, 0, "lease");
	call->name = HvLiteral(DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(0))));
	HvRequireWritable();
	HvAdd(params, ObjectIdGetDatum(call->role));
	HvAdd(params, PG_GETARG_DATUM(0));
}

static Datum
RenewLease(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	Datum		ends;

	AddLease(call, &params, fcinfo);
	HvAddNullable(&params, Arg(fcinfo, 1));
	HvAddOrigin(&params, call);
	SPI_connect();
	HvOwnerRun(&renew_statement, &params);
	ends = Returned(1);
	SPI_finish();
	return ends;
}

static Datum
RevokeLease(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};

	AddLease(call, &params, fcinfo);
	HvAddOrigin(&params, call);
	SPI_connect();
	HvOwnerRun(&revoke_statement, &params);
	SPI_finish();
	PG_RETURN_VOID();
}

HV_FUNCTION(hv_issue_role, "lease_issue", IssueRole)
HV_FUNCTION(hv_renew_lease, "lease_renew", RenewLease)
HV_FUNCTION(hv_revoke_lease, "lease_revoke", RevokeLease)
