/*
 * granting.h: whether a role may do an action on a name.
 */
#ifndef HV_GRANTING_H
#define HV_GRANTING_H

#include "hyperion_vault.h"

#include "tablescan.h"

#define HV_MAX_ANSWERS	32

/* whether a pattern of several names is granted to a role */
typedef struct HvPatternAnswer
{
	Oid			role;
	text	   *pattern;
	bool		granted;
} HvPatternAnswer;

/*
 * What was found of patterns, for the decisions of one call about one action with one snapshot. A decision of another call
 * finds out by itself.
 */
typedef struct HvPatternAnswers
{
	int			n;
	HvPatternAnswer answers[HV_MAX_ANSWERS];
} HvPatternAnswers;

/* the tables of a decision, open */
typedef struct HvGrantTables
{
	HvScan		grants;
	HvScan		revoked;
	HvPatternAnswers *answers;	/* NULL: there is one decision only */
} HvGrantTables;

extern bool HvOpenGrants(HvGrantTables *tables);
extern void HvCloseGrants(HvGrantTables *tables);
extern bool HvIsGranted(HvGrantTables *tables, Snapshot snapshot, Oid role, HvBytes action, HvBytes target);
extern void HvRequireVaultOwner(void);
extern bool HvMayNow(Oid role, HvBytes action, HvBytes target);

#endif
