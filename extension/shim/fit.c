/*
 * fit.c: whether values are within limits.
 */
#include "hyperion_vault.h"

#include "access/detoast.h"
#include "fit.h"

/*
 * Whether a bigint is within limits.
 */
bool
HvIsWithin(NullableDatum number, int64 least, int64 most)
{
	return number.isnull || (DatumGetInt64(number.value) >= least && DatumGetInt64(number.value) <= most);
}

/*
 * Whether a text or bytea has so many bytes.
 */
bool
HvFitsLength(NullableDatum value, Size least, Size most)
{
	Size		len = value.isnull ? least : toast_raw_datum_size(value.value) - VARHDRSZ;

	return len >= least && len <= most;
}

/*
 * Whether a text is one of n.
 */
bool
HvIsOneOf(NullableDatum value, const char *const *texts, int n)
{
	text	   *given;
	Size		len;

	if (value.isnull)
		return true;
	given = DatumGetTextPP(value.value);
	len = VARSIZE_ANY_EXHDR(given);
	for (int i = 0; i < n; i++)
		if (strlen(texts[i]) == len && memcmp(texts[i], VARDATA_ANY(given), len) == 0)
			return true;
	return false;
}

/*
 * Whether a jsonb is an object, and has at most so many bytes as text.
 */
bool
HvFitsObject(NullableDatum value, Size most)
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
bool
HvFitsTags(NullableDatum tags)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	Jsonb	   *json;

	if (!HvFitsObject(tags, HV_MAX_TAGS_LEN))
		return false;
	if (tags.isnull)
		return true;
	json = DatumGetJsonbP(tags.value);
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if ((token == WJB_KEY && (value.val.string.len < 1 || value.val.string.len > HV_MAX_TAG_NAME_LEN)) ||
			(token == WJB_VALUE && (value.type != jbvString || value.val.string.len > HV_MAX_TAG_LEN)))
			return false;
	return JB_ROOT_COUNT(json) <= HV_MAX_TAGS;
}
