/*
 * changetables.h: the tables that every change of a secret's value writes to.
 */
#ifndef HV_CHANGETABLES_H
#define HV_CHANGETABLES_H

#include "hyperion_vault.h"

#include "note.h"

/* they are open; secrets is found by the index of the one that changes it */
typedef struct HvChangeTables
{
	HvTarget	secrets;
	HvTarget	versions;
	HvNotes		notes;
} HvChangeTables;

extern bool HvOpenChangeTables(HvTable *secrets, HvChangeTables *tables);
extern void HvCloseChangeTables(HvChangeTables *tables, bool done);

#endif
