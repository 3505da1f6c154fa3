/*
 * usual.c: what the plaintext functions write of usual secrets, which takes no statement.
 */
#include "hyperion_vault.h"

#include "create.h"
#include "sealed.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* as vault.check_settings() has them */
#define MAX_DESCRIPTION_LEN	1024
#define MAX_GRACE_SECS		315360000
#define MAX_KEPT_VERSIONS	100

/*
 * Take n parameters of a statement that is not run.
 */
static void
TakeParams(const HvParams *params, int first, int n, NullableDatum *values)
{
	for (int i = 0; i < n; i++)
		values[i] = (NullableDatum) {params->values[first + i], params->nulls[first + i] == 'n'};
}

/*
 * A number among settings, or 0 for null; false unless it is at most the limit.
 */
static bool
SmallSetting(NullableDatum setting, bool is_int8, int64 limit, int64 *value)
{
	*value = setting.isnull ? 0 : is_int8 ? DatumGetInt64(setting.value) : DatumGetInt32(setting.value);
	return *value >= 0 && *value <= limit;
}

/*
 * Whether a setting is one that a usual secret has: none, or what the argument is by default.
 */
static bool
IsUsual(HvSetting setting, NullableDatum value)
{
	if (value.isnull || setting == HV_DESCRIPTION || setting == HV_GRACE_PERIOD || setting == HV_KEEP_VERSIONS)
		return true;
	if (setting == HV_TAGS)
		return JB_ROOT_IS_OBJECT(DatumGetJsonbP(value.value)) && JB_ROOT_COUNT(DatumGetJsonbP(value.value)) == 0;
	return setting == HV_ROTATION_TIME_ZONE && strcmp(TextDatumGetCString(value.value), "UTC") == 0;
}

/*
 * Take the settings of a usual secret; false if it has others, or wrong ones.
 */
static bool
TakeUsual(NullableDatum kind, const HvSettings *settings, HvCreation *creation)
{
	int64		keep;
	NullableDatum description = settings->values[HV_DESCRIPTION];

	for (int i = 0; i < HV_SETTINGS; i++)
		if (!IsUsual(i, settings->values[i]))
			return false;
	creation->description = description.isnull ? CStringGetTextDatum("") : description.value;
	if (!SmallSetting(settings->values[HV_GRACE_PERIOD], true, MAX_GRACE_SECS, &creation->grace_period_secs) ||
		!SmallSetting(settings->values[HV_KEEP_VERSIONS], false, MAX_KEPT_VERSIONS, &keep))
		return false;
	creation->keep_versions = (int32) keep;
	return !kind.isnull && strcmp(TextDatumGetCString(kind.value), "manual") == 0 &&
		VARSIZE_ANY_EXHDR(DatumGetTextPP(creation->description)) <= MAX_DESCRIPTION_LEN;
}

/*
 * Store a new secret without a statement, if it is a usual one.
 */
bool
HvCreateUsual(HvCall *call, const HvBinding *binding, NullableDatum kind, const HvSettings *settings, const HvStored *sealed)
{
	HvCreation	creation = {
		.id = UUIDPGetDatum((const pg_uuid_t *) binding->id.data),
		.version = binding->version,
	};
	HvParams	params = {0};

	if (!TakeUsual(kind, settings, &creation))
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
	return HvCreateDirectly(&creation);
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
