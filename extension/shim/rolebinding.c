/*
 * rolebinding.c: binds secrets to PostgreSQL's own roles: vault.bind_role and its siblings.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "readonly.h"
#include "rolepassword.h"
#include "roleverifier.h"
#include "secretmem.h"
#include "text.h"
#include "utils/builtins.h"

#define ORIGIN_TYPES	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

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
	HvFindReadable(call, &found);
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
BindRole(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;
	HvBytes		value;
	char	   *role = RoleArg(fcinfo, 1, "role");
	char	   *verifier;

	LockToBind(call, fcinfo, &locked);
	value = CurrentValue(call, &locked);
	verifier = HvVerifierOf(locked.content_type, value, role);
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

	if (HvIsNamed(username, first))
		return 1;
	if (!HvIsNamed(username, second))
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
	password = HvPasswordOf(locked.content_type, value, &username);
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
UnbindRole(HvCall *call, FunctionCallInfo fcinfo)
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
RepairRole(HvCall *call, FunctionCallInfo fcinfo)
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
	password = HvPasswordOf(locked.content_type, value, &username);
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
 * The verifier that a role has, once PostgreSQL has let the caller set it again and the password is the given one.
 * Nothing is said of the password before: a role cannot be asked for the passwords of others.
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
ImportRole(HvCall *call, FunctionCallInfo fcinfo)
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

HV_FUNCTION(hv_bind_role, "bind_role", BindRole)
HV_FUNCTION(hv_bind_role_pair, "bind_role", BindPair)
HV_FUNCTION(hv_unbind_role, "unbind_role", UnbindRole)
HV_FUNCTION(hv_import_role, "create", ImportRole)
HV_FUNCTION(hv_repair_role, "repair_role", RepairRole)
