/*
 * changetables.c: opens and closes the tables that every change of a secret's value writes to.
 */
#include "hyperion_vault.h"

#include "changetables.h"
#include "supersede.h"

/*
 * Open the tables in the order in which the statements of vault.append_anyhow() lock them. False if one of them takes a
 * statement: then nothing is locked.
 */
bool
HvOpenChangeTables(HvTable *secrets, HvChangeTables *tables)
{
	if (!HvOpenTarget(secrets, &tables->secrets))
		return false;
	if (HvOpenTarget(&HvVersionsTable, &tables->versions))
	{
		if (HvOpenNotes(&tables->notes))
			return true;
		HvReleaseTarget(&tables->versions);
	}
	HvReleaseTarget(&tables->secrets);
	return false;
}

/*
 * Close the tables. If the change is not done, a statement makes it: the locks are given back.
 */
void
HvCloseChangeTables(HvChangeTables *tables, bool done)
{
	if (done)
	{
		HvCloseTarget(&tables->secrets);
		HvCloseTarget(&tables->versions);
		HvCloseNotes(&tables->notes);
		return;
	}
	HvReleaseTarget(&tables->secrets);
	HvReleaseTarget(&tables->versions);
	HvReleaseNotes(&tables->notes);
}
