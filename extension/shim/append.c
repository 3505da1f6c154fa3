/*
 * append.c: vault.append_version(), by REST and by SQL: without a statement if that can be, else by vault.append_anyhow().
 *
 * vault.append_if_free() is for changes that share a transaction: it makes a change that needs neither a statement nor a wait,
 * and leaves every other to a transaction of its own.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "decide.h"
#include "definition.h"
#include "funcapi.h"
#include "granting.h"
#include "readonly.h"
#include "sealed.h"
#include "supersede.h"
#include "utils/builtins.h"

enum Argument
{
	ID, EXPECTED_VERSION, SEALED, ACTION, SETTINGS, RESCHEDULE, ORIGIN
};

/* those of vault.append_if_free() behind the ones that say who the caller is */
enum FreeArgument
{
	FREE_ID = HV_CALLER_ARGUMENTS, FREE_EXPECTED_VERSION, FREE_SEALED, FREE_ACTION
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

PG_FUNCTION_INFO_V1(hv_append_version);

/*
 * Arguments: id, expected_version, sealed, action, settings, reschedule, origin.
 */
Datum
hv_append_version(PG_FUNCTION_ARGS)
{
	HvAppend	append;
	TupleDesc	result;
	HeapTuple	info;

	CheckAction(Arg(fcinfo, ACTION));
	if (PG_ARGISNULL(ID) || PG_ARGISNULL(EXPECTED_VERSION) || (!PG_ARGISNULL(RESCHEDULE) && PG_GETARG_BOOL(RESCHEDULE)) ||
		!HasNoField(Arg(fcinfo, SETTINGS)))
		return HvCallDefinition(fcinfo, "append_anyhow");
	HvRequireWritable();
	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	append.at_once = false;
	append.id = PG_GETARG_DATUM(ID);
	append.expected_version = PG_GETARG_INT64(EXPECTED_VERSION);
	append.action = PG_GETARG_DATUM(ACTION);
	HvTakeRow(Arg(fcinfo, SEALED), append.sealed, HV_SEALED_COLUMNS);
	HvTakeRow(Arg(fcinfo, ORIGIN), append.origin, HV_ORIGIN_COLUMNS);
	if (!HvAppendDirectly(&append, BlessTupleDesc(result), &info))
		return HvCallDefinition(fcinfo, "append_anyhow");
	return HeapTupleGetDatum(info);
}

PG_FUNCTION_INFO_V1(hv_append_if_free);

/*
 * Arguments: those of vault.admit(), id, expected_version, sealed, action. Null: nothing was done.
 */
Datum
hv_append_if_free(PG_FUNCTION_ARGS)
{
	HvAppend	append;
	TupleDesc	result;
	HeapTuple	info;

	HvRequireVaultOwner();
	CheckAction(Arg(fcinfo, FREE_ACTION));
	HvRequireWritable();
	if (PG_ARGISNULL(FREE_ID) || PG_ARGISNULL(FREE_EXPECTED_VERSION) || !HvAdmitByScans(fcinfo, append.origin))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	append.at_once = true;
	append.id = PG_GETARG_DATUM(FREE_ID);
	append.expected_version = PG_GETARG_INT64(FREE_EXPECTED_VERSION);
	append.action = PG_GETARG_DATUM(FREE_ACTION);
	HvTakeRow(Arg(fcinfo, FREE_SEALED), append.sealed, HV_SEALED_COLUMNS);
	if (!HvAppendDirectly(&append, BlessTupleDesc(result), &info))
		PG_RETURN_NULL();
	return HeapTupleGetDatum(info);
}
