/*
 * store.c: vault.store_secret(), a creation by REST: without a statement if that can be, else by vault.create_anyhow().
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "create.h"
#include "definition.h"
#include "funcapi.h"
#include "readonly.h"

enum Argument
{
	ID, NAME, VERSION, SEALED, KIND, CONTENT_TYPE, SETTINGS, MORE, ORIGIN
};

/*
 * Take what is stored from the arguments; false if a statement has to refuse it or to make it.
 */
static bool
TakeCreation(FunctionCallInfo fcinfo, HvCreation *creation)
{
	if (PG_ARGISNULL(ID) || PG_ARGISNULL(NAME) || PG_ARGISNULL(VERSION) || PG_ARGISNULL(KIND) || PG_ARGISNULL(CONTENT_TYPE))
		return false;
	creation->id = PG_GETARG_DATUM(ID);
	creation->name = PG_GETARG_DATUM(NAME);
	creation->version = PG_GETARG_INT64(VERSION);
	creation->kind = PG_GETARG_DATUM(KIND);
	creation->content_type = PG_GETARG_DATUM(CONTENT_TYPE);
	HvTakeRow(Arg(fcinfo, SETTINGS), creation->settings.values, HV_SETTINGS);
	HvTakeRow(Arg(fcinfo, MORE), creation->more, HV_VERSION_SETTINGS);
	if (!HvAreUsual(creation))
		return false;
	HvTakeRow(Arg(fcinfo, SEALED), creation->sealed, HV_SEALED_COLUMNS);
	HvTakeRow(Arg(fcinfo, ORIGIN), creation->origin, HV_ORIGIN_COLUMNS);
	return true;
}

PG_FUNCTION_INFO_V1(hv_store_secret);

/*
 * Arguments: id, name, version, sealed, kind, content_type, settings, more, origin.
 */
Datum
hv_store_secret(PG_FUNCTION_ARGS)
{
	HvCreation	creation;
	TupleDesc	result;
	HeapTuple	state;

	HvRequireWritable();
	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	if (!TakeCreation(fcinfo, &creation) || !HvCreateDirectly(&creation, BlessTupleDesc(result), &state))
		return HvCallDefinition(fcinfo, "create_anyhow");
	return HeapTupleGetDatum(state);
}
