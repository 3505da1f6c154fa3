/*
 * append.c: vault.append_version(), by REST and by SQL: without a statement if that can be, else by vault.append_anyhow().
 *
 * vault.append_if_free() is for changes that share a transaction: it makes a change that needs neither a statement nor a wait,
 * and leaves every other to a transaction of its own. vault.append_with_verifier_if_free() is the same for bound secrets.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "decide.h"
#include "definition.h"
#include "funcapi.h"
#include "granting.h"
#include "readonly.h"
#include "rolepassword.h"
#include "roleverifier.h"
#include "sealed.h"
#include "supersede.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

/* what a change is, which is given in this order to both functions */
enum ChangeArgument
{
	ID, EXPECTED_VERSION, SEALED, ACTION, CHANGE_ARGUMENTS
};

/* what vault.append_with_verifier_if_free() takes behind that */
enum PasswordArgument
{
	VERIFIER = CHANGE_ARGUMENTS, ROLE
};

/* what vault.append_version() takes behind that, and vault.append_with_verifier() behind that */
enum Argument
{
	SETTINGS = CHANGE_ARGUMENTS, RESCHEDULE, ORIGIN, LONE_VERIFIER, LONE_ROLE
};

/*
 * Whether a row has no field that is not null, as IS NULL finds it.
 */
static bool
HasNoField(NullableDatum argument)
{
	NullableDatum values[HV_SETTINGS];

	HvTakeRow(argument, values, HV_SETTINGS);
	for (int i = 0; i < HV_SETTINGS; i++)
		if (!values[i].isnull)
			return false;
	return true;
}

static void
CheckAction(NullableDatum action)
{
	const char *given = action.isnull ? "" : TextDatumGetCString(action.value);

	if (strcmp(given, "update") != 0 && strcmp(given, "rotate") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("action must be update or rotate")));
}

/*
 * Make a change without a statement, and return the row that says what the secret is then. False: nothing was done.
 */
static bool
MakeChange(FunctionCallInfo fcinfo, const NullableDatum *change, HvAppend *append, HeapTuple *info)
{
	TupleDesc	result;

	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	append->id = change[ID].value;
	append->expected_version = DatumGetInt64(change[EXPECTED_VERSION].value);
	append->action = change[ACTION].value;
	HvTakeRow(change[SEALED], append->sealed, HV_SEALED_COLUMNS);
	return HvAppendDirectly(append, BlessTupleDesc(result), info);
}

/*
 * Make the change without a statement if that can be, else by the definition.
 */
static Datum
AppendVersion(FunctionCallInfo fcinfo, const char *definition)
{
	HvAppend	append = {.at_once = false};
	HeapTuple	info;

	CheckAction(Arg(fcinfo, ACTION));
	if (PG_ARGISNULL(ID) || PG_ARGISNULL(EXPECTED_VERSION) || (!PG_ARGISNULL(RESCHEDULE) && PG_GETARG_BOOL(RESCHEDULE)) ||
		!HasNoField(Arg(fcinfo, SETTINGS)))
		return HvCallDefinition(fcinfo, definition);
	HvRequireWritable();
	HvTakeRow(Arg(fcinfo, ORIGIN), append.origin, HV_ORIGIN_COLUMNS);
	if (!MakeChange(fcinfo, fcinfo->args, &append, &info))
		return HvCallDefinition(fcinfo, definition);
	return HeapTupleGetDatum(info);
}

PG_FUNCTION_INFO_V1(hv_append_version);

/*
 * Arguments: id, expected_version, sealed, action, settings, reschedule, origin.
 */
Datum
hv_append_version(PG_FUNCTION_ARGS)
{
	return AppendVersion(fcinfo, "append_anyhow");
}

/*
 * Have a password ready for a change. False if it is none.
 */
static bool
OfferPassword(const NullableDatum *change, NullableDatum given, NullableDatum role)
{
	const char *verifier;

	if (change[ID].isnull || change[EXPECTED_VERSION].isnull || given.isnull || role.isnull)
		return false;
	verifier = TextDatumGetCString(given.value);
	if (!HvIsScram(verifier))
		return false;
	HvOfferVerifier(DatumGetUUIDP(change[ID].value)->data, DatumGetInt64(change[EXPECTED_VERSION].value) + 1, verifier,
					TextDatumGetCString(role.value));
	return true;
}

PG_FUNCTION_INFO_V1(hv_append_with_verifier);

/*
 * Arguments: those of vault.append_version(), verifier, role. The definition has the words for what is no password.
 */
Datum
hv_append_with_verifier(PG_FUNCTION_ARGS)
{
	HvLogEnter("append_with_verifier");
	HvRequireVaultOwner();
	if (!OfferPassword(fcinfo->args, Arg(fcinfo, LONE_VERIFIER), Arg(fcinfo, LONE_ROLE)))
		return HvCallDefinition(fcinfo, "append_with_verifier_anyhow");
	return AppendVersion(fcinfo, "append_with_verifier_anyhow");
}

/*
 * Make the change if the caller may, and it is free.
 */
static Datum
AppendIfFree(FunctionCallInfo fcinfo)
{
	const NullableDatum *change = fcinfo->args + HV_CALLER_ARGUMENTS;
	HvAppend	append = {.at_once = true};
	HeapTuple	info;

	HvRequireVaultOwner();
	CheckAction(change[ACTION]);
	HvRequireWritable();
	if (change[ID].isnull || change[EXPECTED_VERSION].isnull || !HvAdmitByScans(fcinfo, append.origin) ||
		!MakeChange(fcinfo, change, &append, &info))
		PG_RETURN_NULL();
	return HeapTupleGetDatum(info);
}

PG_FUNCTION_INFO_V1(hv_append_if_free);

/*
 * Arguments: those of vault.admit(), id, expected_version, sealed, action. Null: nothing was done.
 */
Datum
hv_append_if_free(PG_FUNCTION_ARGS)
{
	return AppendIfFree(fcinfo);
}

PG_FUNCTION_INFO_V1(hv_append_with_verifier_if_free);

/*
 * Arguments: those of vault.append_if_free(), verifier, role. A verifier that is none is refused by the change alone.
 */
Datum
hv_append_with_verifier_if_free(PG_FUNCTION_ARGS)
{
	const NullableDatum *change = fcinfo->args + HV_CALLER_ARGUMENTS;

	HvLogEnter("append_with_verifier_if_free");
	HvRequireVaultOwner();
	if (!OfferPassword(change, change[VERIFIER], change[ROLE]))
		PG_RETURN_NULL();
	return AppendIfFree(fcinfo);
}
