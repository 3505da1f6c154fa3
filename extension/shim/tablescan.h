/*
 * tablescan.h: rows of the vault's tables, found by an index without a statement.
 */
#ifndef HV_TABLESCAN_H
#define HV_TABLESCAN_H

#include "hyperion_vault.h"

#include "access/genam.h"

#define HV_MAX_COLUMNS	26
#define HV_MAX_KEYS		2

typedef struct HvTableColumn
{
	const char *name;
	Oid			type;
} HvTableColumn;

struct HvWriter;				/* tablewrite.c */

/* a table of schema vault, and an index on its first columns here; the rest is what the catalogs say of them */
typedef struct HvTable
{
	const char *name;
	const char *index;			/* NULL: it is only written */
	const char *null_column;	/* the index has the rows where this is null; NULL = all rows */
	int			nkeys;			/* columns of the index, the first ones below */
	HvTableColumn columns[HV_MAX_COLUMNS];
	const char *root;			/* the table that it is a part of; NULL = none */
	bool		inserted;		/* rows are inserted, with no default of the table */
	bool		ungenerated;	/* no column is written that a generated one is made of */
	bool		found;			/* and below is what */
	uint64		finding;		/* counts how often it was found */
	bool		checked;		/* the index is the expected one */
	Oid			table_oid;
	Oid			index_oid;
	Oid			root_oid;
	AttrNumber	null_number;
	AttrNumber	numbers[HV_MAX_COLUMNS];
	RegProcedure equal[HV_MAX_KEYS];
	struct HvWriter *writer;
	struct HvTable *next;
} HvTable;

/* a table that is open, and the scan of it */
typedef struct HvScan
{
	const HvTable *table;
	LOCKMODE	lock;			/* of the table, and of the one that it is a part of */
	Relation	root;
	Relation	heap;
	Relation	index;
	SysScanDesc scan;
} HvScan;

extern bool HvOpenTable(HvTable *table, HvScan *scan);
extern bool HvOpenTableLocked(HvTable *table, HvScan *scan, LOCKMODE lock);
extern void HvCloseTable(HvScan *scan);
extern void HvReleaseTable(HvScan *scan);
extern void HvBeginScan(HvScan *scan, Snapshot snapshot, int nkeys, const Datum *keys);
extern void HvBeginScanFrom(HvScan *scan, Snapshot snapshot, RegProcedure at_least, Datum least);
extern HeapTuple HvNextRow(HvScan *scan);
extern HeapTuple HvLastRow(HvScan *scan);
extern void HvEndScan(HvScan *scan);
extern Datum HvField(HvScan *scan, HeapTuple row, int column, bool *isnull);
extern Datum HvFieldNotNull(HvScan *scan, HeapTuple row, int column);

#endif
