/*
 * compare.c: comparison in constant time, for fingerprints of tokens.
 */
#include "hyperion_vault.h"

PG_FUNCTION_INFO_V1(hv_same_bytes);

/*
 * Whether two bytea are equal. The time depends on their lengths alone: a comparison that stops at the first
 * difference would tell how much of a guess is right.
 */
Datum
hv_same_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *a = PG_GETARG_BYTEA_PP(0);
	bytea	   *b = PG_GETARG_BYTEA_PP(1);
	const unsigned char *x = (const unsigned char *) VARDATA_ANY(a);
	const unsigned char *y = (const unsigned char *) VARDATA_ANY(b);
	volatile unsigned char differing = 0;

	if (VARSIZE_ANY_EXHDR(a) != VARSIZE_ANY_EXHDR(b))
		PG_RETURN_BOOL(false);
	for (Size i = 0; i < VARSIZE_ANY_EXHDR(a); i++)
		differing |= x[i] ^ y[i];
	PG_RETURN_BOOL(differing == 0);
}
