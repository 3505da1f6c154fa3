/*
 * sessionsettings.c: whether the settings that a worker's session began with are still what is stored.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_db_role_setting.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "sessionsettings.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * What ALTER DATABASE and ALTER ROLE have set for a session of this worker, in one text. Palloc'd. A session reads it
 * once, when it begins.
 */
static char *
StoredSettings(void)
{
	Relation	settings = table_open(DbRoleSettingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(settings, InvalidOid, false, NULL, 0, NULL);
	StringInfoData all;
	HeapTuple	found;

	initStringInfo(&all);
	while (HeapTupleIsValid(found = systable_getnext(scan)))
	{
		Form_pg_db_role_setting row = (Form_pg_db_role_setting) GETSTRUCT(found);
		bool		isnull;
		Datum		config = heap_getattr(found, Anum_pg_db_role_setting_setconfig, RelationGetDescr(settings), &isnull);

		if (isnull || (OidIsValid(row->setdatabase) && row->setdatabase != MyDatabaseId) ||
			(OidIsValid(row->setrole) && row->setrole != GetSessionUserId()))
			continue;
		appendStringInfo(&all, "%u/%u %s\n", row->setdatabase, row->setrole,
						 OidOutputFunctionCall(F_ARRAY_OUT, config));
	}
	systable_endscan(scan);
	table_close(settings, AccessShareLock);
	return all.data;
}

/*
 * Whether they differ from those of the first call. Outside of a transaction; may ereport.
 */
bool
HvSessionSettingsChanged(void)
{
	static char *first = NULL;
	char	   *now;
	bool		changed;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	now = StoredSettings();
	PopActiveSnapshot();
	if (first == NULL)
		first = MemoryContextStrdup(TopMemoryContext, now);
	changed = strcmp(first, now) != 0;
	CommitTransactionCommand();
	return changed;
}
