/*
 * tablescan.c: finds rows of the vault's tables by an index, without a statement.
 *
 * The start of the executor takes most of a statement that finds one row. Here the index is scanned as PostgreSQL scans
 * its own catalogs, under the locks, with the snapshot and by the rules for indexes that a statement has
 * (docs/decisions/0163). It checks neither privileges nor row security: the caller has decided, or decides by it.
 *
 * A table or an index that is not as expected is not scanned, as before ALTER EXTENSION UPDATE: the caller then runs a
 * statement.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "tablescan.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define ATTEMPTS	3			/* to open a table that others change meanwhile */

/* every table that was opened, for invalidations */
static HvTable *known = NULL;

static void
ForgetRelation(Datum arg, Oid relation)
{
	for (HvTable *table = known; table != NULL; table = table->next)
		if (!OidIsValid(relation) || relation == table->table_oid || relation == table->index_oid ||
			relation == table->root_oid)
			table->found = false;
}

/*
 * A schema has changed, perhaps its name.
 */
static void
ForgetAll(Datum arg, int cache, uint32 hash)
{
	ForgetRelation(arg, InvalidOid);
}

static void
HearOfChanges(HvTable *table)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(ForgetRelation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, ForgetAll, (Datum) 0);
		registered = true;
	}
	for (HvTable *each = known; each != NULL; each = each->next)
		if (each == table)
			return;
	table->next = known;
	known = table;
}

/*
 * Find a relation of schema vault of a kind by its name, if it has one; false if it is missing.
 */
static bool
FindRelation(const char *name, char kind, Oid *relation)
{
	Oid			schema = get_namespace_oid(HV_SCHEMA_NAME, true);

	*relation = name != NULL && OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	return name == NULL || (OidIsValid(*relation) && get_rel_relkind(*relation) == kind);
}

/*
 * Find a table, its columns and its index by their names; false if one is missing or has another type.
 */
static bool
FindTable(HvTable *table)
{
	HearOfChanges(table);
	table->table_oid = table->index_oid = table->root_oid = InvalidOid;
	table->checked = false;
	table->finding++;
	table->found = true;		/* before the first look: an invalidation meanwhile takes it back */
	if (!FindRelation(table->name, RELKIND_RELATION, &table->table_oid) ||
		!FindRelation(table->index, RELKIND_INDEX, &table->index_oid) ||
		!FindRelation(table->root, RELKIND_PARTITIONED_TABLE, &table->root_oid))
		return false;
	for (int i = 0; i < HV_MAX_COLUMNS && table->columns[i].name != NULL; i++)
	{
		table->numbers[i] = get_attnum(table->table_oid, table->columns[i].name);
		if (table->numbers[i] == InvalidAttrNumber ||
			get_atttype(table->table_oid, table->numbers[i]) != table->columns[i].type)
			return false;
	}
	table->null_number = table->null_column == NULL ? InvalidAttrNumber : get_attnum(table->table_oid, table->null_column);
	return true;
}

/*
 * Whether an index has the rows that are looked for: all, or those where a column is null.
 */
static bool
HasEachRow(const HvTable *table, Relation index)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	NullTest   *test;

	if (table->null_column == NULL || predicate == NIL)
		return predicate == NIL;
	test = linitial(predicate);
	return list_length(predicate) == 1 && IsA(test, NullTest) && test->nulltesttype == IS_NULL && !test->argisrow &&
		IsA(test->arg, Var) && ((Var *) test->arg)->varattno == table->null_number;
}

/*
 * Whether texts are equal in a collation only if their bytes are.
 */
static bool
IsExact(Oid collation)
{
	return !OidIsValid(collation) || get_collation_isdeterministic(collation);
}

/*
 * Whether an index is a btree on the expected columns, in the order of their types. Finds their operators.
 */
static bool
CheckIndex(HvTable *table, Relation heap, Relation index)
{
	Form_pg_index form = index->rd_index;

	if (form->indrelid != RelationGetRelid(heap) || index->rd_rel->relam != BTREE_AM_OID || !HasEachRow(table, index) ||
		IndexRelationGetNumberOfKeyAttributes(index) != table->nkeys)
		return false;
	for (int i = 0; i < table->nkeys; i++)
	{
		TypeCacheEntry *type = lookup_type_cache(table->columns[i].type, TYPECACHE_EQ_OPR);

		if (form->indkey.values[i] != table->numbers[i] || index->rd_opcintype[i] != table->columns[i].type ||
			index->rd_opfamily[i] != type->btree_opf || !OidIsValid(type->eq_opr) ||
			!IsExact(index->rd_indcollation[i]))
			return false;
		table->equal[i] = get_opcode(type->eq_opr);
	}
	table->checked = true;
	return true;
}

/*
 * Whether an open index may be used now, by the rules of the planner, or none is needed.
 */
static bool
IsUsable(HvTable *table, Relation heap, Relation index)
{
	Form_pg_index form;

	if (index == NULL)
		return table->index == NULL;
	form = index->rd_index;
	if (!form->indisvalid || !form->indisready || !form->indislive || IgnoreSystemIndexes)
		return false;
	if (form->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin))
		return false;
	return table->checked || CheckIndex(table, heap, index);
}

static void
Close(HvScan *scan, LOCKMODE index_lock, LOCKMODE lock)
{
	if (scan->index != NULL)
		relation_close(scan->index, index_lock);
	if (scan->heap != NULL)
		table_close(scan->heap, lock);
	if (scan->root != NULL)
		table_close(scan->root, lock);
	scan->index = scan->heap = scan->root = NULL;
}

/*
 * Close what is not scanned after all, and give its locks back: the statement that is asked instead takes its own in the order
 * in which ALTER EXTENSION UPDATE takes them, and one that came before would deadlock with it.
 */
void
HvReleaseTable(HvScan *scan)
{
	Close(scan, AccessShareLock, scan->lock);
}

/*
 * Open a table and its index. False if it is not what is expected, or others change it: then nothing is locked. The locks last
 * until the transaction ends, as those of a statement. May accept invalidations.
 */
bool
HvOpenTableLocked(HvTable *table, HvScan *scan, LOCKMODE lock)
{
	*scan = (HvScan) {.table = table, .lock = lock};
	for (int i = 0; i < ATTEMPTS; i++)
	{
		if (!table->found && !FindTable(table))
			break;
		if (table->root != NULL)
			scan->root = try_table_open(table->root_oid, lock);
		if (table->found)
			scan->heap = try_table_open(table->table_oid, lock);
		/* What drops an index waits until the lock of its table is free, so the index stays from here on. */
		if (scan->heap != NULL && table->found && table->index != NULL)
			scan->index = try_relation_open(table->index_oid, AccessShareLock);
		if (scan->heap != NULL && table->found && IsUsable(table, scan->heap, scan->index) && table->found)
			return true;
		HvReleaseTable(scan);
		table->found = false;
	}
	table->found = false;
	return false;
}

bool
HvOpenTable(HvTable *table, HvScan *scan)
{
	return HvOpenTableLocked(table, scan, AccessShareLock);
}

/*
 * Close a table, and end its scan if there is one. The locks stay.
 */
void
HvCloseTable(HvScan *scan)
{
	HvEndScan(scan);
	Close(scan, NoLock, NoLock);
}

/*
 * Report whether a scan that has not ended can go on with other keys.
 */
static bool
GoesOn(const HvScan *scan, Snapshot snapshot, int nkeys)
{
	return scan->scan != NULL && scan->scan->iscan->xs_snapshot == snapshot && scan->scan->iscan->numberOfKeys == nkeys;
}

/*
 * Begin to scan for the rows whose first nkeys columns are equal to the keys. A scan of the table that has not ended goes on,
 * which sets up nothing once more.
 */
void
HvBeginScan(HvScan *scan, Snapshot snapshot, int nkeys, const Datum *keys)
{
	ScanKeyData key[HV_MAX_KEYS];
	bool		goes_on = GoesOn(scan, snapshot, nkeys);

	Assert(nkeys <= scan->table->nkeys);
	/* To begin takes numbers of the table's columns, and to go on those of the index. */
	for (int i = 0; i < nkeys; i++)
		ScanKeyEntryInitialize(&key[i], 0, goes_on ? i + 1 : scan->table->numbers[i], BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[i], scan->table->equal[i], keys[i]);
	if (goes_on)
	{
		index_rescan(scan->scan->iscan, key, nkeys, NULL, 0);
		return;
	}
	HvEndScan(scan);
	scan->scan = systable_beginscan_ordered(scan->heap, scan->index, snapshot, nkeys, key);
}

/*
 * Begin to scan, in the order of the index, for the rows whose first column is not less than a value, by the operator's function.
 */
void
HvBeginScanFrom(HvScan *scan, Snapshot snapshot, RegProcedure at_least, Datum least)
{
	ScanKeyData key;

	ScanKeyEntryInitialize(&key, 0, scan->table->numbers[0], BTGreaterEqualStrategyNumber, InvalidOid,
						   scan->index->rd_indcollation[0], at_least, least);
	scan->scan = systable_beginscan_ordered(scan->heap, scan->index, snapshot, 1, &key);
}

/*
 * The next row; NULL after the last. It stays until the next one is requested.
 */
HeapTuple
HvNextRow(HvScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return systable_getnext_ordered(scan->scan, ForwardScanDirection);
}

/*
 * The last row, in place of the first; NULL if there is none. It stays until the end of the scan.
 */
HeapTuple
HvLastRow(HvScan *scan)
{
	return systable_getnext_ordered(scan->scan, BackwardScanDirection);
}

/*
 * End a scan, if there is one.
 */
void
HvEndScan(HvScan *scan)
{
	if (scan->scan != NULL)
		systable_endscan_ordered(scan->scan);
	scan->scan = NULL;
}

/*
 * A column of a row, by its place in the table's columns.
 */
Datum
HvField(HvScan *scan, HeapTuple row, int column, bool *isnull)
{
	return heap_getattr(row, scan->table->numbers[column], RelationGetDescr(scan->heap), isnull);
}

/*
 * The same for a column that is never null.
 */
Datum
HvFieldNotNull(HvScan *scan, HeapTuple row, int column)
{
	bool		isnull;
	Datum		value = HvField(scan, row, column, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column \"%s\" of table vault.%s is null", scan->table->columns[column].name, scan->table->name)));
	return value;
}
