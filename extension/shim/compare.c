/*
 * compare.c: comparison in constant time, for fingerprints of tokens.
 */
#include "hyperion_vault.h"

#include "tokenholder.h"

/*
 * Whether two values are equal. The time depends on their lengths alone: a comparison that stops at the first
 * difference would tell how much of a guess is right.
 */
bool
HvSameBytes(HvBytes a, HvBytes b)
{
	volatile unsigned char differing = 0;

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		differing |= a.data[i] ^ b.data[i];
	return differing == 0;
}

PG_FUNCTION_INFO_V1(hv_same_bytes);

/*
 * Whether two bytea are equal, in constant time.
 */
Datum
hv_same_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *a = PG_GETARG_BYTEA_PP(0);
	bytea	   *b = PG_GETARG_BYTEA_PP(1);

	PG_RETURN_BOOL(HvSameBytes((HvBytes) {(const unsigned char *) VARDATA_ANY(a), VARSIZE_ANY_EXHDR(a)},
							   (HvBytes) {(const unsigned char *) VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b)}));
}
