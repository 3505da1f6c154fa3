/*
 * store.c: vault.store_secret(), a creation by REST: without a statement if that can be, else by vault.create_anyhow().
 *
 * vault.store_if_free() is for creations that share a transaction: it makes one that needs neither a statement nor a wait, and
 * leaves every other to a transaction of its own.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "create.h"
#include "decide.h"
#include "definition.h"
#include "funcapi.h"
#include "readonly.h"

enum Argument
{
	ID, NAME, VERSION, SEALED, KIND, CONTENT_TYPE, SETTINGS, MORE, ORIGIN
};

/*
 * Take what is stored, but for the origin; false if a statement has to refuse it or to make it.
 */
static bool
TakeCreation(const NullableDatum *given, HvCreation *creation)
{
	if (given[ID].isnull || given[NAME].isnull || given[VERSION].isnull || given[KIND].isnull || given[CONTENT_TYPE].isnull)
		return false;
	creation->id = given[ID].value;
	creation->name = given[NAME].value;
	creation->version = DatumGetInt64(given[VERSION].value);
	creation->kind = given[KIND].value;
	creation->content_type = given[CONTENT_TYPE].value;
	HvTakeRow(given[SETTINGS], creation->settings.values, HV_SETTINGS);
	HvTakeRow(given[MORE], creation->more, HV_VERSION_SETTINGS);
	if (!HvAreUsual(creation))
		return false;
	HvTakeRow(given[SEALED], creation->sealed, HV_SEALED_COLUMNS);
	return true;
}

/*
 * Store what was taken, and return the row that says what there is then. False: nothing was done.
 */
static bool
Store(FunctionCallInfo fcinfo, const HvCreation *creation, HeapTuple *state)
{
	TupleDesc	result;

	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	return HvCreateDirectly(creation, BlessTupleDesc(result), state);
}

PG_FUNCTION_INFO_V1(hv_store_secret);

/*
 * Arguments: id, name, version, sealed, kind, content_type, settings, more, origin.
 */
Datum
hv_store_secret(PG_FUNCTION_ARGS)
{
	HvCreation	creation = {.at_once = false};
	HeapTuple	state;

	HvRequireWritable();
	HvTakeRow(Arg(fcinfo, ORIGIN), creation.origin, HV_ORIGIN_COLUMNS);
	if (!TakeCreation(fcinfo->args, &creation) || !Store(fcinfo, &creation, &state))
		return HvCallDefinition(fcinfo, "create_anyhow");
	return HeapTupleGetDatum(state);
}

PG_FUNCTION_INFO_V1(hv_store_if_free);

/*
 * Arguments: those of vault.admit(), which have the name, id, version, sealed, kind, content_type, settings, more. Null: nothing
 * was done.
 */
Datum
hv_store_if_free(PG_FUNCTION_ARGS)
{
	const NullableDatum *behind = fcinfo->args + HV_CALLER_ARGUMENTS;
	NullableDatum given[ORIGIN] = {[ID] = behind[0], [NAME] = Arg(fcinfo, HV_CALLER_NAME)};
	HvCreation	creation = {.at_once = true};
	HeapTuple	state;

	HvRequireVaultOwner();
	HvRequireWritable();
	memcpy(&given[VERSION], &behind[1], (ORIGIN - VERSION) * sizeof(NullableDatum));
	if (!TakeCreation(given, &creation) || !HvAdmitByScans(fcinfo, creation.origin) || !Store(fcinfo, &creation, &state))
		PG_RETURN_NULL();
	return HeapTupleGetDatum(state);
}
