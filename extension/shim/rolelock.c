/*
 * rolelock.c: waits for who alters a role at the same time.
 *
 * The server's own ALTER ROLE waits too, and then fails with an internal error, as if something was broken. What was decided
 * about the role before holds no longer once another transaction has altered it, so the change is refused, to be tried again.
 */
#include "hyperion_vault.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "executor/tuptable.h"
#include "rolepassword.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * Lock the row of a role as the cache has it. Of one that has been altered since, that is no longer the newest, and is not
 * locked.
 */
static bool
LockRow(Relation roles, HeapTuple tuple, LockWaitPolicy wait)
{
	TupleTableSlot *slot = table_slot_create(roles, NULL);
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(roles, &tuple->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(true),
										  LockTupleNoKeyExclusive, wait, 0, &failure);

	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

void
HvLockRole(Oid role)
{
	Relation	roles = table_open(AuthIdRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	if (!LockRow(roles, tuple, LockWaitBlock))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("role \"%s\" was altered by another transaction at the same time",
						NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname)),
				 errhint("Try again.")));
	ReleaseSysCache(tuple);
	table_close(roles, NoLock);
}

bool
HvLockRoleAtOnce(Oid role)
{
	Relation	roles = table_open(AuthIdRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		locked = false;

	if (HeapTupleIsValid(tuple))
	{
		locked = LockRow(roles, tuple, LockWaitSkip);
		ReleaseSysCache(tuple);
	}
	table_close(roles, NoLock);
	return locked;
}
