/*
 * usual.c: what the plaintext functions write of usual secrets, which takes no statement.
 */
#include "hyperion_vault.h"

#include "create.h"
#include "fit.h"
#include "sealed.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

/*
 * Take n parameters of a statement that is not run.
 */
static void
TakeParams(const HvParams *params, int first, int n, NullableDatum *values)
{
	for (int i = 0; i < n; i++)
		values[i] = (NullableDatum) {params->values[first + i], params->nulls[first + i] == 'n'};
}

static bool
IsText(NullableDatum value, const char *wanted)
{
	return !value.isnull && strcmp(TextDatumGetCString(value.value), wanted) == 0;
}

/*
 * Whether when a secret is rotated fits its kind. Only a statement knows the names of time zones.
 */
static bool
FitsKind(Datum kind, const NullableDatum *settings)
{
	int			n = !settings[HV_ROTATION_INTERVAL].isnull + !settings[HV_ROTATION_SCHEDULE].isnull;
	NullableDatum window = settings[HV_ROTATION_WINDOW];

	if (!settings[HV_ROTATION_TIME_ZONE].isnull && !IsText(settings[HV_ROTATION_TIME_ZONE], "UTC"))
		return false;
	if (!HvIsWithin(window, 0, 0) && !HvIsWithin(window, HV_MIN_WINDOW_SECS, HV_MAX_WINDOW_SECS))
		return false;
	return IsText(HvNotNull(kind), n == 0 ? "manual" : "automatic") && n <= 1 &&
		HvIsWithin(settings[HV_ROTATION_INTERVAL], 1, HV_MAX_SECS) &&
		HvFitsLength(settings[HV_ROTATION_SCHEDULE], HV_MIN_SCHEDULE_LEN, HV_MAX_SCHEDULE_LEN);
}

/*
 * Whether a new secret has the settings of a usual one, and so none that is wrong.
 */
bool
HvAreUsual(const HvCreation *creation)
{
	const NullableDatum *settings = creation->settings.values;
	NullableDatum keep = settings[HV_KEEP_VERSIONS];

	return FitsKind(creation->kind, settings) && HvFitsLength(settings[HV_DESCRIPTION], 0, HV_MAX_DESCRIPTION_LEN) &&
		HvIsWithin(settings[HV_GRACE_PERIOD], 0, HV_MAX_SECS) && HvIsWithin(creation->more[HV_DELETE_AFTER], 0, HV_MAX_SECS) &&
		(keep.isnull || (DatumGetInt32(keep.value) >= 0 && DatumGetInt32(keep.value) <= HV_MAX_KEPT_VERSIONS)) &&
		HvFitsTags(settings[HV_TAGS]) && HvFitsObject(settings[HV_GENERATE_POLICY], HV_MAX_POLICY_LEN);
}

/*
 * Store a new secret without a statement, if it is a usual one.
 */
bool
HvCreateUsual(HvCall *call, const HvBinding *binding, NullableDatum kind, const HvSettings *settings, const HvStored *sealed)
{
	HvCreation	creation = {
		.id = UUIDPGetDatum((const pg_uuid_t *) binding->id.data),
		.kind = kind.value,
		.version = binding->version,
		.settings = *settings,
		.more = {{(Datum) 0, true}, {(Datum) 0, true}},
	};
	HvParams	params = {0};

	if (kind.isnull || !HvAreUsual(&creation))
		return false;
	HvAddText(&params, binding->name);
	HvAddText(&params, binding->content_type);
	creation.name = params.values[0];
	creation.content_type = params.values[1];
	params.n = 0;
	HvAddSealed(&params, sealed);
	HvAddOrigin(&params, call);
	TakeParams(&params, 0, HV_SEALED_COLUMNS, creation.sealed);
	TakeParams(&params, HV_SEALED_COLUMNS, HV_ORIGIN_COLUMNS, creation.origin);
	return HvCreateDirectly(&creation, NULL, NULL);
}

/*
 * Make a sealed value the current version of a secret without a statement, if it is one that allows it.
 */
bool
HvAppendUsual(HvCall *call, const HvBinding *binding, const HvStored *sealed)
{
	HvAppend	append = {
		.id = UUIDPGetDatum((const pg_uuid_t *) binding->id.data),
		.expected_version = binding->version - 1,
		.action = CStringGetTextDatum(call->action),
	};
	HvParams	params = {0};

	HvAddSealed(&params, sealed);
	HvAddOrigin(&params, call);
	TakeParams(&params, 0, HV_SEALED_COLUMNS, append.sealed);
	TakeParams(&params, HV_SEALED_COLUMNS, HV_ORIGIN_COLUMNS, append.origin);
	return HvAppendDirectly(&append, NULL, NULL);
}
