/*
 * granting.h: whether a role may do an action on a name.
 */
#ifndef HV_GRANTING_H
#define HV_GRANTING_H

#include "hyperion_vault.h"

#include "tablescan.h"

/* the tables of a decision, open; no grant is found by them unless usable */
typedef struct HvGrantTables
{
	HvScan		grants;
	HvScan		revoked;
} HvGrantTables;

extern bool HvOpenGrants(HvGrantTables *tables);
extern void HvCloseGrants(HvGrantTables *tables);
extern bool HvIsGranted(HvGrantTables *tables, Snapshot snapshot, Oid role, HvBytes action, HvBytes target);
extern bool HvMayNow(Oid role, HvBytes action, HvBytes target);

#endif
