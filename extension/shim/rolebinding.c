/*
 * rolebinding.c: secrets that are the passwords of PostgreSQL's own roles: vault.bind_role and its siblings.
 *
 * The verifier of a new password is made here, or by the API where PostgreSQL is not shown the value. It is kept in memory for
 * the rest of the statement that makes the version: what stores versions takes it from there (vault.set_role_password()).
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "arg.h"
#include "catalog/pg_type.h"
#include "golib.h"
#include "miscadmin.h"
#include "open.h"
#include "readonly.h"
#include "rolebinding.h"
#include "rolepassword.h"
#include "rolesession.h"
#include "secretmem.h"
#include "text.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define ORIGIN_TYPES	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

static HvStatement next_statement = {
	"SELECT l.username FROM vault.next_login($1) l", 1, {UUIDOID}
};
static HvStatement bind_statement = {
	"SELECT vault.bind_with_verifier($1, $2, $3, $4, $5, ROW($6, $7, NULL)::vault.binding_options,"
	" ROW($8, $9, $10, $11, $12)::vault.audit_origin)",
	12, {OIDOID, UUIDOID, INT8OID, REGROLEOID, TEXTOID, BOOLOID, TEXTOID, ORIGIN_TYPES}
};
static HvStatement bind_pair_statement = {
	"SELECT vault.bind_pair_with_verifier($1, $2, $3, $4, $5, $6, $7, ROW($8, $9, $10)::vault.binding_options,"
	" ROW($11, $12, $13, $14, $15)::vault.audit_origin)",
	15, {OIDOID, UUIDOID, INT8OID, REGROLEOID, REGROLEOID, REGROLEOID, TEXTOID, BOOLOID, TEXTOID, INT8OID, ORIGIN_TYPES}
};
static HvStatement unbind_statement = {
	"SELECT vault.unbind_secret($1, ROW($2, $3, $4, $5, $6)::vault.audit_origin)", 6, {UUIDOID, ORIGIN_TYPES}
};
static HvStatement repair_statement = {
	"SELECT vault.repair_with_verifier($1, $2, $3, ROW($4, $5, $6, $7, $8)::vault.audit_origin)",
	8, {UUIDOID, INT8OID, TEXTOID, ORIGIN_TYPES}
};

/* the verifier of the password that a version is; the memory is the transaction's */
static struct
{
	unsigned char id[HV_ID_LEN];
	int64		version;
	TimestampTz at;				/* start of the statement */
	char	   *verifier;		/* NULL: none */
	MemoryContextCallback forget;
}			offered;

static void
Forget(void *arg)
{
	offered.verifier = NULL;
}

/*
 * Have a verifier ready for a version, for the rest of the statement. Copies it.
 */
static void
Offer(const unsigned char *id, int64 version, const char *verifier)
{
	MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
	Size		len = strlen(verifier) + 1;
	char	   *copy = (char *) HvSecretAlloc(len);

	MemoryContextSwitchTo(before);
	memcpy(copy, verifier, len);
	if (offered.verifier == NULL)
	{
		offered.forget.func = Forget;
		MemoryContextRegisterResetCallback(TopTransactionContext, &offered.forget);
	}
	memcpy(offered.id, id, HV_ID_LEN);
	offered.version = version;
	offered.at = GetCurrentStatementStartTimestamp();
	offered.verifier = copy;
}

/*
 * ereport unless a function of the vault's calls, or a superuser: these can set the password of any role.
 */
void
HvRequireOwner(void)
{
	if (!superuser() && GetUserId() != get_role_oid(HV_OWNER_NAME, false))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only functions of the vault call this")));
}

PG_FUNCTION_INFO_V1(hv_offer_verifier);

Datum
hv_offer_verifier(PG_FUNCTION_ARGS)
{
	char	   *verifier;

	HvLogEnter("offer_verifier");
	HvRequireOwner();
	RequireArg(fcinfo, 0, "id");
	RequireArg(fcinfo, 1, "version");
	RequireArg(fcinfo, 2, "verifier");
	verifier = text_to_cstring(PG_GETARG_TEXT_PP(2));
	HvCheckVerifier(verifier);
	Offer(PG_GETARG_UUID_P(0)->data, PG_GETARG_INT64(1), verifier);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(hv_offered_verifier);

Datum
hv_offered_verifier(PG_FUNCTION_ARGS)
{
	HvRequireOwner();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || offered.verifier == NULL ||
		offered.at != GetCurrentStatementStartTimestamp() || offered.version != PG_GETARG_INT64(1) ||
		memcmp(offered.id, PG_GETARG_UUID_P(0)->data, HV_ID_LEN) != 0)
		PG_RETURN_NULL();
	HvLogGive();
	PG_RETURN_TEXT_P(cstring_to_text(offered.verifier));
}

PG_FUNCTION_INFO_V1(hv_alter_role);

Datum
hv_alter_role(PG_FUNCTION_ARGS)
{
	char	   *verifier = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *until = PG_ARGISNULL(2) ? NULL : pstrdup(timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(2)));

	HvLogGive();
	HvRequireOwner();
	RequireArg(fcinfo, 0, "role");
	if (verifier != NULL)
		HvSettleAfterCommit();
	HvAlterRole(PG_ARGISNULL(3) ? HV_AS_VAULT : PG_GETARG_OID(3), PG_GETARG_OID(0), verifier, until);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(hv_role_has);

Datum
hv_role_has(PG_FUNCTION_ARGS)
{
	char	   *stored;

	HvRequireOwner();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || GetUserNameFromId(PG_GETARG_OID(0), true) == NULL)
		PG_RETURN_NULL();
	HvStoredVerifier(PG_GETARG_OID(0), &stored);
	PG_RETURN_BOOL(stored != NULL && strcmp(stored, text_to_cstring(PG_GETARG_TEXT_PP(1))) == 0);
}

/*
 * The name of the role whose password the next version of a locked secret is. ereports if that is not the role that was bound.
 */
static HvBytes
NextRole(const HvLocked *locked)
{
	HvParams	params = {0};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	HvBytes		name;

	SPI_connect();
	HvAddUuid(&params, locked->id);
	HvOwnerRun(&next_statement, &params);
	if (SPI_processed != 1)
		elog(ERROR, "no role was returned");
	spi = MemoryContextSwitchTo(caller);
	name = HvColumnBytes(SPI_tuptable->vals[0], 1);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return name;
}

static bool
IsJson(HvBytes content_type)
{
	return strcmp((const char *) content_type.data, "application/json") == 0;
}

/*
 * The generated value of a bound secret with the name of the role whose password it is to be. The given one is wiped.
 */
HvBytes
HvForNextRole(const HvLocked *locked, HvBytes value)
{
	HvBuf		changed = {NULL, 0};

	if (!IsJson(locked->content_type))
		return value;
	HV_CALL_GO(set_username, value, NextRole(locked), &changed);
	HvSecretWipe(value.data);
	return HvTakeBuf(&changed);
}

/*
 * The password that a value has; the user that it names, empty for none. The caller wipes the password.
 */
static HvBytes
PasswordOf(HvBytes content_type, HvBytes value, HvBytes *username)
{
	HvBuf		user = {NULL, 0};
	HvBuf		password = {NULL, 0};

	HV_CALL_GO(login, content_type, value, &user, &password);
	*username = HvTakeBuf(&user);
	return HvTakeBuf(&password);
}

static bool
IsNamed(HvBytes name, const char *role)
{
	return name.len == strlen(role) && memcmp(name.data, role, name.len) == 0;
}

/*
 * ereport if a value is JSON for another user than the role.
 */
static void
CheckUsername(HvBytes content_type, HvBytes username, const char *role)
{
	if (IsJson(content_type) && !IsNamed(username, role))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the field username of the value must be the role \"%s\"", role)));
}

/*
 * The verifier of the password that a value is for a role.
 */
static char *
VerifierOf(HvBytes content_type, HvBytes value, const char *role)
{
	HvBytes		username;
	HvBytes		password = PasswordOf(content_type, value, &username);
	char	   *verifier;

	HvLogGive();
	CheckUsername(content_type, username, role);
	verifier = HvScramVerifier(password);
	HvSecretWipe(password.data);
	return verifier;
}

/*
 * Have the verifier ready that the next version of a bound secret gives to its role. ereports if the value is no login of it.
 */
void
HvOfferPassword(HvCall *call, const HvLocked *locked, HvBytes value)
{
	char	   *verifier = VerifierOf(locked->content_type, value, (const char *) NextRole(locked).data);

	Offer(locked->id.data, locked->current_version + 1, verifier);
}

/*
 * The current value of a locked secret; the caller wipes it. The right to rotate a secret is enough, for what is made of the
 * value is not returned.
 */
static HvBytes
CurrentValue(HvCall *call, const HvLocked *locked)
{
	const char *action = call->action;
	HvOpenable	found;

	call->action = "rotate";
	HvFindOpenable(call, &found);
	call->action = action;
	if (found.versions[0].version != locked->current_version)
		elog(ERROR, "a locked secret has changed");
	return HvOpenFirst(call, &found);
}

/*
 * Lock the secret of argument 0 to bind it: the caller needs what it takes to update and to rotate it.
 */
static void
LockToBind(HvCall *call, FunctionCallInfo fcinfo, HvLocked *locked)
{
	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvRequire(call, "update");
	HvLock(call, "rotate", (NullableDatum) {(Datum) 0, true}, locked);
}

/*
 * Name of the role of an argument. ereports if there is none.
 */
static char *
RoleArg(FunctionCallInfo fcinfo, int arg, const char *what)
{
	RequireArg(fcinfo, arg, what);
	return GetUserNameFromId(PG_GETARG_OID(arg), false);
}

static void
RunAsOwner(HvStatement *statement, HvParams *params, const HvCall *call)
{
	HvAddOrigin(params, call);
	HvLogGive();
	HvOwnerRun(statement, params);
	SPI_finish();
}

static void
StoreBinding(HvCall *call, HvBytes id, int64 version, Oid role, const char *verifier,
			 NullableDatum auto_repair, NullableDatum session_policy)
{
	HvParams	params = {0};

	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddUuid(&params, id);
	HvAdd(&params, Int64GetDatum(version));
	HvAdd(&params, ObjectIdGetDatum(role));
	HvAddText(&params, HvLiteral(verifier));
	HvAddNullable(&params, auto_repair);
	HvAddNullable(&params, session_policy);
	RunAsOwner(&bind_statement, &params, call);
}

static Datum
Bind(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;
	HvBytes		value;
	char	   *role = RoleArg(fcinfo, 1, "role");
	char	   *verifier;

	LockToBind(call, fcinfo, &locked);
	value = CurrentValue(call, &locked);
	verifier = VerifierOf(locked.content_type, value, role);
	HvSecretWipe(value.data);
	StoreBinding(call, locked.id, locked.current_version, PG_GETARG_OID(1), verifier, Arg(fcinfo, 2), Arg(fcinfo, 3));
	PG_RETURN_VOID();
}

/*
 * Which of the two roles a value is the login of: 1 or 2, as the argument. ereports if it is of neither.
 */
static int
CurrentOfPair(FunctionCallInfo fcinfo, HvBytes username)
{
	char	   *first = RoleArg(fcinfo, 1, "role_a");
	char	   *second = RoleArg(fcinfo, 2, "role_b");

	if (IsNamed(username, first))
		return 1;
	if (!IsNamed(username, second))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the value must be JSON whose field username is the role \"%s\" or \"%s\"", first, second)));
	return 2;
}

static Datum
BindPair(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	HvLocked	locked;
	HvBytes		value;
	HvBytes		username;
	HvBytes		password;
	char	   *verifier;
	int			at;

	LockToBind(call, fcinfo, &locked);
	value = CurrentValue(call, &locked);
	password = PasswordOf(locked.content_type, value, &username);
	HvSecretWipe(value.data);
	HvLogGive();
	at = CurrentOfPair(fcinfo, username);
	verifier = HvScramVerifier(password);
	HvSecretWipe(password.data);

	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddUuid(&params, locked.id);
	HvAdd(&params, Int64GetDatum(locked.current_version));
	HvAdd(&params, PG_GETARG_DATUM(at));
	HvAdd(&params, PG_GETARG_DATUM(3 - at));
	HvAddNullable(&params, Arg(fcinfo, 3));
	HvAddText(&params, HvLiteral(verifier));
	HvAddNullable(&params, Arg(fcinfo, 4));
	HvAddNullable(&params, Arg(fcinfo, 5));
	HvAddNullable(&params, Arg(fcinfo, 6));
	RunAsOwner(&bind_pair_statement, &params, call);
	PG_RETURN_VOID();
}

static Datum
Unbind(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	HvLocked	locked;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, "update", (NullableDatum) {(Datum) 0, true}, &locked);
	SPI_connect();
	HvAddUuid(&params, locked.id);
	RunAsOwner(&unbind_statement, &params, call);
	PG_RETURN_VOID();
}

static Datum
Repair(HvCall *call, FunctionCallInfo fcinfo)
{
	HvParams	params = {0};
	HvLocked	locked;
	HvBytes		value;
	HvBytes		username;
	HvBytes		password;
	char	   *verifier;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, "rotate", (NullableDatum) {(Datum) 0, true}, &locked);
	value = CurrentValue(call, &locked);
	password = PasswordOf(locked.content_type, value, &username);
	HvSecretWipe(value.data);
	verifier = HvScramVerifier(password);
	HvSecretWipe(password.data);
	SPI_connect();
	HvAddUuid(&params, locked.id);
	HvAdd(&params, Int64GetDatum(locked.current_version));
	HvAddText(&params, HvLiteral(verifier));
	RunAsOwner(&repair_statement, &params, call);
	PG_RETURN_VOID();
}

/*
 * The verifier that a role has, once PostgreSQL has let the caller set it again and the password is the given one. Nothing is said of the
 * password before: a role cannot be asked for the passwords of others.
 */
static char *
PresentVerifier(HvCall *call, Oid role, const char *name, HvBytes password)
{
	char	   *stored;
	char	   *verifier = HvScramVerifier(password);

	HvStoredVerifier(role, &stored);
	HvAlterRole(call->role, role, HvIsScram(stored) ? stored : verifier, NULL);
	if (HvIsScram(stored) && HvPasswordIs(role, password))
		return stored;
	if (HvIsScram(stored) || stored == NULL || !HvStoredIs(name, stored, password))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("role \"%s\" has another password", name),
				 errhint("To give it a new one: create the secret, and call vault.bind_role().")));
	return verifier;
}

static Datum
Import(HvCall *call, FunctionCallInfo fcinfo)
{
	HvSettings	settings;
	HvBinding	binding;
	HvStored	stored;
	HvBytes		password;
	char	   *role;
	char	   *verifier;

	HvLogEnter("import_role");
	RequireArg(fcinfo, 0, "name");
	role = RoleArg(fcinfo, 1, "role");
	RequireArg(fcinfo, 2, "password");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvRequire(call, "create");
	HvRequireWritable();
	password = HvValueArg(fcinfo, 2);
	verifier = PresentVerifier(call, PG_GETARG_OID(1), role, password);
	for (int i = 0; i < HV_SETTINGS; i++)
		settings.values[i] = (NullableDatum) {(Datum) 0, true};
	binding = (HvBinding) {HvNewId(), call->name, HvFirstVersion(call), HvLiteral("text/plain; charset=utf-8")};
	HvSealValue(call, &binding, password, &stored);
	HvInsertSecret(call, &binding, (NullableDatum) {CStringGetTextDatum("manual"), false}, &settings, &stored);
	StoreBinding(call, binding.id, binding.version, PG_GETARG_OID(1), verifier, Arg(fcinfo, 3),
				 (NullableDatum) {(Datum) 0, true});
	return Int64GetDatum(binding.version);
}

/* The SQL functions. */

HV_FUNCTION(hv_bind_role, "bind_role", Bind)
HV_FUNCTION(hv_bind_role_pair, "bind_role", BindPair)
HV_FUNCTION(hv_unbind_role, "unbind_role", Unbind)
HV_FUNCTION(hv_import_role, "create", Import)
HV_FUNCTION(hv_repair_role, "repair_role", Repair)
