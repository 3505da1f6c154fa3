/*
 * tokenholder.h: who holds a token.
 */
#ifndef HV_TOKENHOLDER_H
#define HV_TOKENHOLDER_H

#include "hyperion_vault.h"

#include "tablescan.h"

/* who asks, as vault.decision: a text or jsonb that is 0 is null */
typedef struct HvHolder
{
	Datum		cause;
	Datum		actor;
	Datum		acting;
	Oid			role;			/* InvalidOid: null */
	Datum		scopes;
} HvHolder;

/* the table of tokens by its two indexes, open */
typedef struct HvTokenTables
{
	HvScan		tokens;
	HvScan		parents;
} HvTokenTables;

extern bool HvOpenTokens(HvTokenTables *tables);
extern void HvCloseTokens(HvTokenTables *tables);
extern void HvFindHolder(HvTokenTables *tables, Snapshot snapshot, Datum fingerprint, NullableDatum address, HvHolder *holder);
extern void HvFindAnonymous(HvHolder *holder);
extern bool HvSameBytes(HvBytes a, HvBytes b);	/* compare.c */

#endif
