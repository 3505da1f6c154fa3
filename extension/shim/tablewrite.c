/*
 * tablewrite.c: inserts, updates and deletes rows of the vault's tables without a statement.
 *
 * Rows are written as the apply worker of logical replication writes them: by the executor's own functions for single rows,
 * which compute generated columns, check constraints and the condition of a part, add index entries and run row triggers
 * (docs/decisions/0197). They ask for no privilege and no row security: the caller has decided.
 *
 * What the executor makes of a table for this, its checks above all, is kept for the session. A table that is not as expected
 * is not written here, as before ALTER EXTENSION UPDATE or with a rule or a trigger added by hand: the caller then runs a
 * statement.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tablewrite.h"
#include "tablewriter.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Begin to write as vault_owner, with what is committed now where the isolation level lets it be seen. May ereport: the abort
 * of the (sub)transaction then restores the caller's identity.
 */
void
HvBeginWrites(HvWrites *writes)
{
	GetUserIdAndSecContext(&writes->caller, &writes->context);
	SetUserIdAndSecContext(get_role_oid(HV_OWNER_NAME, false), writes->context | SECURITY_LOCAL_USERID_CHANGE);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * End that; what was written is seen from here on.
 */
void
HvEndWrites(const HvWrites *writes)
{
	PopActiveSnapshot();
	CommandCounterIncrement();
	SetUserIdAndSecContext(writes->caller, writes->context);
}

/*
 * Open a table to be written. False if it takes a statement: then nothing of it is locked. The locks last until the
 * transaction ends, as those of a statement. May accept invalidations.
 */
bool
HvOpenTarget(HvTable *table, HvTarget *target)
{
	*target = (HvTarget) {.table = table};
	if (!HvOpenTableLocked(table, &target->scan, RowExclusiveLock))
		return false;
	target->writer = HvWriterOf(table, &target->scan);
	if (target->writer != NULL && table->found)
	{
		target->writer->info->ri_RelationDesc = target->scan.heap;
		target->writer->busy = true;
		return true;
	}
	HvReleaseTable(&target->scan);
	return false;
}

static void
Leave(HvTarget *target)
{
	target->writer->busy = false;
	target->writer->info->ri_RelationDesc = NULL;
	/* What of generated columns has to be computed depends on the columns that the first update changed. */
	if (!target->table->ungenerated && target->scan.heap->rd_att->constr != NULL &&
		target->scan.heap->rd_att->constr->has_generated_stored)
		HvForgetWriter(target->table);
	target->writer = NULL;
}

void
HvCloseTarget(HvTarget *target)
{
	Leave(target);
	HvCloseTable(&target->scan);
}

/*
 * Close what is not written after all, and give its locks back, as HvReleaseTable.
 */
void
HvReleaseTarget(HvTarget *target)
{
	Leave(target);
	HvReleaseTable(&target->scan);
}

/*
 * Lock a row that a scan has found. False if others have changed it, or this command has, and with LockWaitSkip also if others
 * have it locked: a statement knows what then has to be done at each isolation level.
 */
bool
HvLockRowOr(HvTarget *target, HeapTuple row, LockTupleMode mode, LockWaitPolicy wait)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(target->scan.heap, &row->t_self, GetActiveSnapshot(), target->writer->old,
										  GetCurrentCommandId(false), mode, wait, 0, &failure);

	ExecClearTuple(target->writer->old);
	return result == TM_Ok;
}

bool
HvLockRow(HvTarget *target, HeapTuple row, LockTupleMode mode)
{
	return HvLockRowOr(target, row, mode, LockWaitBlock);
}

static void
BeginRow(HvWriter *writer)
{
	HvSetPath(writer);
	writer->estate->es_snapshot = GetActiveSnapshot();
	writer->estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
}

/*
 * End what is done with a row: run triggers after it, and give back what is of this transaction.
 */
static void
EndRow(HvWriter *writer)
{
	AfterTriggerEndQuery(writer->estate);
	HvResetPath(writer);
	ResetPerTupleExprContext(writer->estate);
	ExecClearTuple(writer->row);
	ExecClearTuple(writer->old);
	ExecClearTuple(writer->info->ri_TrigOldSlot);
	ExecClearTuple(writer->info->ri_TrigNewSlot);
	writer->estate->es_snapshot = InvalidSnapshot;
}

/*
 * Open the indexes of a table, in the order in which statements lock them.
 */
static void
OpenIndexes(HvWriter *writer)
{
	for (int i = 0; i < writer->nindexes; i++)
	{
		writer->info->ri_IndexRelationDescs[i] = index_open(writer->indexes[i], RowExclusiveLock);
		writer->info->ri_IndexRelationInfo[i]->ii_CheckedUnchanged = false;
	}
	writer->info->ri_NumIndices = writer->nindexes;
}

static void
CloseIndexes(HvWriter *writer)
{
	ExecCloseIndices(writer->info);
	writer->info->ri_NumIndices = 0;
}

/*
 * Have the slot hold a new row with the values, in the order of the table's columns. The others are null or generated.
 */
static void
StoreNew(HvTarget *target, const NullableDatum *values)
{
	HvWriter   *writer = target->writer;
	const HvTable *table = target->table;

	Assert(table->inserted);
	ExecClearTuple(writer->row);
	memset(writer->row->tts_isnull, true, writer->row->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < HV_MAX_COLUMNS && table->columns[i].name != NULL; i++)
	{
		writer->row->tts_values[table->numbers[i] - 1] = values[i].value;
		writer->row->tts_isnull[table->numbers[i] - 1] = values[i].isnull;
	}
	ExecStoreVirtualTuple(writer->row);
}

/*
 * Insert a row with the values, in the order of the table's columns. The others are null or generated.
 */
void
HvInsertRow(HvTarget *target, const NullableDatum *values)
{
	HvWriter   *writer = target->writer;

	StoreNew(target, values);
	BeginRow(writer);
	OpenIndexes(writer);
	ExecSimpleRelationInsert(writer->info, writer->estate, writer->row);
	CloseIndexes(writer);
	EndRow(writer);
}

/*
 * Whether no row that can be seen, or whose transaction has ended meanwhile, has the keys of the new one.
 */
static bool
IsFree(HvWriter *writer, List *index)
{
	ItemPointerData other;
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(writer->info, writer->row, writer->estate, &other, &none, index);
#else
	return ExecCheckIndexConstraints(writer->info, writer->row, writer->estate, &other, index);
#endif
}

/*
 * Add the index entries of a new row; false if another row was faster in a unique index.
 */
static bool
AddUniqueEntries(HvWriter *writer, List *index)
{
	bool		conflicts = false;

#if PG_VERSION_NUM >= 190000
	(void) ExecInsertIndexTuples(writer->info, writer->estate, EIIT_NO_DUPE_ERROR, writer->row, index, &conflicts);
#elif PG_VERSION_NUM >= 160000
	(void) ExecInsertIndexTuples(writer->info, writer->row, writer->estate, false, true, &conflicts, index, false);
#else
	(void) ExecInsertIndexTuples(writer->info, writer->row, writer->estate, false, true, &conflicts, index);
#endif
	return !conflicts;
}

/*
 * Insert the row of the slot as INSERT … ON CONFLICT DO NOTHING does, which has no function of the executor.
 */
static bool
InsertIfFree(HvWriter *writer, Relation heap, List *index)
{
	TupleConstr *constraints = heap->rd_att->constr;
	uint32		token;
	bool		inserted;

	if (writer->info->ri_TrigDesc != NULL && writer->info->ri_TrigDesc->trig_insert_before_row &&
		!ExecBRInsertTriggers(writer->estate, writer->info, writer->row))
		return false;
	if (constraints != NULL && constraints->has_generated_stored)
		ExecComputeStoredGenerated(writer->info, writer->estate, writer->row, CMD_INSERT);
	if (constraints != NULL)
		ExecConstraints(writer->info, writer->row, writer->estate);
	if (!IsFree(writer, index))
		return false;
	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(heap, writer->row, writer->estate->es_output_cid, 0, NULL, token);
	inserted = AddUniqueEntries(writer, index);
	table_tuple_complete_speculative(heap, writer->row, token, inserted);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	if (inserted)
		ExecARInsertTriggers(writer->estate, writer->info, writer->row, NIL, NULL);
	return inserted;
}

/*
 * Insert a row, unless there is one with its keys in the index of the scan: false then, and nothing is written. Returns a copy
 * of what was inserted if row is not NULL.
 */
bool
HvInsertUnlessThere(HvTarget *target, const NullableDatum *values, HeapTuple *row)
{
	HvWriter   *writer = target->writer;
	List	   *index = list_make1_oid(target->table->index_oid);
	bool		inserted;

	StoreNew(target, values);
	BeginRow(writer);
	OpenIndexes(writer);
	inserted = InsertIfFree(writer, target->scan.heap, index);
	if (inserted && row != NULL)
		*row = ExecCopySlotHeapTuple(writer->row);
	CloseIndexes(writer);
	EndRow(writer);
	list_free(index);
	return inserted;
}

/*
 * Say which columns an update changes, for triggers.
 */
static void
SetUpdatedColumns(EState *estate, Bitmapset *columns)
{
	Bitmapset **updated;

#if PG_VERSION_NUM >= 160000
	updated = &linitial_node(RTEPermissionInfo, estate->es_rteperminfos)->updatedCols;
#else
	updated = &linitial_node(RangeTblEntry, estate->es_range_table)->updatedCols;
#endif
	bms_free(*updated);
	*updated = columns;
}

/*
 * Have the slot hold a row with other values in some of its columns.
 */
static void
StoreUpdated(HvTarget *target, HeapTuple row, int n, const int *columns, const NullableDatum *values)
{
	HvWriter   *writer = target->writer;
	Bitmapset  *updated = NULL;
	MemoryContext before = MemoryContextSwitchTo(writer->context);

	ExecClearTuple(writer->row);
	heap_deform_tuple(row, writer->row->tts_tupleDescriptor, writer->row->tts_values, writer->row->tts_isnull);
	for (int i = 0; i < n; i++)
	{
		AttrNumber	number = target->table->numbers[columns[i]];

		writer->row->tts_values[number - 1] = values[i].value;
		writer->row->tts_isnull[number - 1] = values[i].isnull;
		updated = bms_add_member(updated, number - FirstLowInvalidHeapAttributeNumber);
	}
	SetUpdatedColumns(writer->estate, updated);
	MemoryContextSwitchTo(before);
	ExecStoreVirtualTuple(writer->row);
}

static bool
IsHeapOnly(TupleTableSlot *slot)
{
	bool		is_copy;

	return HeapTupleIsHeapOnly(ExecFetchSlotHeapTuple(slot, false, &is_copy));
}

/*
 * Add the index entries of a row that was updated.
 */
static void
AddEntries(HvWriter *writer)
{
	OpenIndexes(writer);
#if PG_VERSION_NUM >= 190000
	(void) ExecInsertIndexTuples(writer->info, writer->estate, EIIT_IS_UPDATE, writer->row, NIL, NULL);
#elif PG_VERSION_NUM >= 160000
	(void) ExecInsertIndexTuples(writer->info, writer->row, writer->estate, true, false, NULL, NIL, false);
#else
	(void) ExecInsertIndexTuples(writer->info, writer->row, writer->estate, true, false, NULL, NIL);
#endif
	CloseIndexes(writer);
}

/*
 * Update n columns of a row that is locked, given by their places in the table's columns. Its indexes are opened only if the
 * row needs new entries, which the executor would not know before.
 */
void
HvUpdateRow(HvTarget *target, HeapTuple row, int n, const int *columns, const NullableDatum *values)
{
	HvWriter   *writer = target->writer;
	EPQState	unused = {0};	/* for rows that others have changed */

	StoreUpdated(target, row, n, columns, values);
	ExecClearTuple(writer->old);
	writer->old->tts_tid = row->t_self;
	BeginRow(writer);
	ExecSimpleRelationUpdate(writer->info, writer->estate, &unused, writer->old, writer->row);
	if (!ItemPointerIsValid(&writer->row->tts_tid))
		elog(ERROR, "a row of table vault.%s was not updated", target->table->name);
	if (!IsHeapOnly(writer->row))
		AddEntries(writer);
	EndRow(writer);
}

/*
 * Delete a row that is locked.
 */
void
HvDeleteRow(HvTarget *target, HeapTuple row)
{
	HvWriter   *writer = target->writer;
	EPQState	unused = {0};

	ExecClearTuple(writer->old);
	writer->old->tts_tid = row->t_self;
	BeginRow(writer);
	ExecSimpleRelationDelete(writer->info, writer->estate, &unused, writer->old);
	EndRow(writer);
}
