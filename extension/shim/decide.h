/*
 * decide.h: the decision about a caller by REST.
 */
#ifndef HV_DECIDE_H
#define HV_DECIDE_H

#include "hyperion_vault.h"

#include "granting.h"
#include "tokenholder.h"

/* who wants to do what with which name */
typedef struct HvQuestion
{
	NullableDatum fingerprint;
	NullableDatum address;
	NullableDatum claims;
	NullableDatum action;
	NullableDatum name;
} HvQuestion;

/*
 * Decide by scans of open tables, with the snapshot that is active; false if vault.decide_defined() has to be asked. What is
 * found is palloc'd.
 */
extern bool HvDecideByScans(HvGrantTables *grants, HvTokenTables *tokens, const HvQuestion *question, HvHolder *holder);

/*
 * Decide by vault.decide_defined(), with the snapshot that is active. What is found is palloc'd.
 */
extern void HvDecideBySql(const HvQuestion *question, HvHolder *holder);

#endif
