/*
 * batch.h: what becomes of each name of a vault.read_secrets().
 */
#ifndef HV_BATCH_H
#define HV_BATCH_H

#include "hyperion_vault.h"

#include "call.h"

typedef struct HvItem
{
	HvBytes		name;			/* as given; NULL data is a null */
	bool		plain;			/* it is a name */
	bool		found;			/* a version of it was, and below is what of */
	HvBytes		id;
	HvBytes		content_type;
	HvStored	stored;
	int			sqlstate;		/* why there is no value; 0 if there will be one */
	const char *message;
} HvItem;

extern void HvFail(HvItem *item, int sqlstate, const char *message);

/* decideeach.c */
extern void HvFindEach(HvCall *call, HvItem *items, int n);

/* exchangeeach.c */
typedef struct HvSpan
{
	HvItem	   *items;
	int			n;
} HvSpan;

extern HvSpan HvNextSpan(HvItem *items, int n);
extern const unsigned char **HvExchangeEach(HvCall *call, HvSpan span);

#endif
