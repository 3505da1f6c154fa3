/*
 * tablewrite.h: rows of the vault's tables, written without a statement.
 */
#ifndef HV_TABLEWRITE_H
#define HV_TABLEWRITE_H

#include "hyperion_vault.h"

#include "access/tableam.h"
#include "tablescan.h"

/* a table that is open to be written, and the scan of it; each table is open once at a time */
typedef struct HvTarget
{
	HvTable    *table;
	HvScan		scan;
	struct HvWriter *writer;
} HvTarget;

/* who calls what is written as vault_owner */
typedef struct HvWrites
{
	Oid			caller;
	int			context;
} HvWrites;

static inline NullableDatum
HvNotNull(Datum value)
{
	return (NullableDatum) {value, false};
}

extern void HvBeginWrites(HvWrites *writes);
extern void HvEndWrites(const HvWrites *writes);
extern bool HvOpenTarget(HvTable *table, HvTarget *target);
extern void HvCloseTarget(HvTarget *target);
extern void HvReleaseTarget(HvTarget *target);
extern bool HvLockRow(HvTarget *target, HeapTuple row, LockTupleMode mode);
extern bool HvLockRowOr(HvTarget *target, HeapTuple row, LockTupleMode mode, LockWaitPolicy wait);
extern void HvInsertRow(HvTarget *target, const NullableDatum *values);
extern bool HvInsertUnlessThere(HvTarget *target, const NullableDatum *values, HeapTuple *row);
extern void HvUpdateRow(HvTarget *target, HeapTuple row, int n, const int *columns, const NullableDatum *values);
extern void HvDeleteRow(HvTarget *target, HeapTuple row);

#endif
