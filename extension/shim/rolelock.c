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

void
HvLockRole(Oid role)
{
	Relation	roles = table_open(AuthIdRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	TupleTableSlot *slot;
	TM_FailureData failure;
	TM_Result	result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	slot = table_slot_create(roles, NULL);
	result = table_tuple_lock(roles, &tuple->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, LockWaitBlock, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("role \"%s\" was altered by another transaction at the same time",
						NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname)),
				 errhint("Try again.")));
	ReleaseSysCache(tuple);
	table_close(roles, NoLock);
}
