/*
 * usual.c: what the plaintext functions write of usual secrets, which takes no statement.
 */
#include "hyperion_vault.h"

#include "access/detoast.h"
#include "create.h"
#include "sealed.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* as vault.check_settings() and vault.check_version_settings() have them */
#define MAX_DESCRIPTION_LEN	1024
#define MAX_TAGS_LEN		49152
#define MAX_POLICY_LEN		4096
#define MIN_SCHEDULE_LEN	9
#define MAX_SCHEDULE_LEN	255
#define MAX_SECS			315360000	/* of an interval, a grace and the life of a version */
#define MIN_WINDOW_SECS		60
#define MAX_WINDOW_SECS		31536000
#define MAX_KEPT_VERSIONS	100

/* as vault.tags_fit() */
#define MAX_TAGS			64
#define MAX_TAG_NAME_LEN	128
#define MAX_TAG_LEN			512

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
IsWithin(NullableDatum secs, int64 least, int64 most)
{
	return secs.isnull || (DatumGetInt64(secs.value) >= least && DatumGetInt64(secs.value) <= most);
}

static bool
FitsText(NullableDatum value, Size least, Size most)
{
	Size		len = value.isnull ? least : toast_raw_datum_size(value.value) - VARHDRSZ;

	return len >= least && len <= most;
}

/*
 * Whether a value is an object, and as text at most so long.
 */
static bool
FitsObject(NullableDatum value, Size most)
{
	Jsonb	   *json;

	if (value.isnull)
		return true;
	json = DatumGetJsonbP(value.value);
	return JB_ROOT_IS_OBJECT(json) && strlen(JsonbToCString(NULL, &json->root, VARSIZE(json))) <= most;
}

/*
 * Whether an object is one of tags, which are few short strings.
 */
static bool
FitsTags(NullableDatum tags)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	Jsonb	   *json;

	if (!FitsObject(tags, MAX_TAGS_LEN))
		return false;
	if (tags.isnull)
		return true;
	json = DatumGetJsonbP(tags.value);
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if ((token == WJB_KEY && (value.val.string.len < 1 || value.val.string.len > MAX_TAG_NAME_LEN)) ||
			(token == WJB_VALUE && (value.type != jbvString || value.val.string.len > MAX_TAG_LEN)))
			return false;
	return JB_ROOT_COUNT(json) <= MAX_TAGS;
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
	if (!IsWithin(window, 0, 0) && !IsWithin(window, MIN_WINDOW_SECS, MAX_WINDOW_SECS))
		return false;
	return IsText(HvNotNull(kind), n == 0 ? "manual" : "automatic") && n <= 1 &&
		IsWithin(settings[HV_ROTATION_INTERVAL], 1, MAX_SECS) &&
		FitsText(settings[HV_ROTATION_SCHEDULE], MIN_SCHEDULE_LEN, MAX_SCHEDULE_LEN);
}

/*
 * Whether a new secret has the settings of a usual one, and so none that is wrong.
 */
bool
HvAreUsual(const HvCreation *creation)
{
	const NullableDatum *settings = creation->settings.values;
	NullableDatum keep = settings[HV_KEEP_VERSIONS];

	return FitsKind(creation->kind, settings) && FitsText(settings[HV_DESCRIPTION], 0, MAX_DESCRIPTION_LEN) &&
		IsWithin(settings[HV_GRACE_PERIOD], 0, MAX_SECS) && IsWithin(creation->more[HV_DELETE_AFTER], 0, MAX_SECS) &&
		(keep.isnull || (DatumGetInt32(keep.value) >= 0 && DatumGetInt32(keep.value) <= MAX_KEPT_VERSIONS)) &&
		FitsTags(settings[HV_TAGS]) && FitsObject(settings[HV_GENERATE_POLICY], MAX_POLICY_LEN);
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
