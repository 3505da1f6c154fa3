/*
 * pattern.c: the patterns of grants that select a name.
 *
 * The rule is vault.pattern_matches(): a pattern selects itself, '*' everything, and 'a/b/' with a star what begins with
 * 'a/b/'. So a name has few patterns that select it, and a decision finds the grants by them, however many there are.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "pattern.h"
#include "text.h"
#include "utils/array.h"
#include "utils/builtins.h"

/*
 * A prefix, of len bytes, with a star behind it. Palloc'd.
 */
static Datum
PrefixPattern(HvBytes target, size_t len)
{
	text	   *pattern = palloc(VARHDRSZ + len + 1);

	SET_VARSIZE(pattern, VARHDRSZ + len + 1);
	memcpy(VARDATA(pattern), target.data, len);
	VARDATA(pattern)[len] = '*';
	return PointerGetDatum(pattern);
}

/*
 * Add every pattern that selects target to patterns, which has space for target.len + 2 of them; how many. Palloc'd.
 */
int
HvAddPatterns(HvBytes target, Datum *patterns)
{
	int			n = 0;

	patterns[n++] = PointerGetDatum(cstring_to_text_with_len((const char *) target.data, target.len));
	patterns[n++] = PrefixPattern(target, 0);
	for (size_t i = 0; i < target.len; i++)
		if (target.data[i] == '/')
			patterns[n++] = PrefixPattern(target, i + 1);
	return n;
}

PG_FUNCTION_INFO_V1(hv_matching_patterns);

/*
 * Return every pattern that selects a name or the pattern of a grant. The result may contain duplicates.
 */
Datum
hv_matching_patterns(PG_FUNCTION_ARGS)
{
	HvBytes		target = HvTextBytes(PG_GETARG_TEXT_PP(0));
	Datum	   *patterns = palloc_array(Datum, target.len + 2);
	int			n = HvAddPatterns(target, patterns);

	PG_RETURN_ARRAYTYPE_P(construct_array(patterns, n, TEXTOID, -1, false, TYPALIGN_INT));
}

PG_FUNCTION_INFO_V1(hv_patterns_of_names);

/*
 * Every pattern that selects one of several names or more. Some may stand there several times.
 */
Datum
hv_patterns_of_names(PG_FUNCTION_ARGS)
{
	Datum	   *names;
	bool	   *nulls;
	int			nnames;
	size_t		space = 0;
	Datum	   *patterns;
	int			n = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &nnames);
	for (int i = 0; i < nnames; i++)
		if (!nulls[i])
			space += HvTextBytes(DatumGetTextPP(names[i])).len + 2;
	patterns = palloc_array(Datum, space);
	for (int i = 0; i < nnames; i++)
		if (!nulls[i])
			n += HvAddPatterns(HvTextBytes(DatumGetTextPP(names[i])), patterns + n);
	PG_RETURN_ARRAYTYPE_P(construct_array(patterns, n, TEXTOID, -1, false, TYPALIGN_INT));
}
