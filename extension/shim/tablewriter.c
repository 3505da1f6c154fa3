/*
 * tablewriter.c: makes what the executor needs to write rows of a table, and keeps it for the session.
 *
 * The executor makes it for each statement, and its checks from their text. What is kept holds nothing of a transaction. It is
 * made again after an invalidation of the table, after a change of any function, which a check may call, and after an error in
 * the middle of a row.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_relation.h"
#include "tablewriter.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* counts changes of functions, which the checks of a table may call */
static uint64 functions = 0;

static void
CountFunctions(Datum arg, int cache, uint32 hash)
{
	functions++;
}

static void
HearOfFunctions(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterSyscacheCallback(PROCOID, CountFunctions, (Datum) 0);
	registered = true;
}

/*
 * Whether all triggers of a table are for each row and the vault's own, which need no search_path. Those of foreign
 * keys are not.
 */
static bool
HasOwnTriggers(Relation relation)
{
	Oid			schema = get_namespace_oid(HV_SCHEMA_NAME, false);

	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &relation->trigdesc->triggers[i];

		if (!TRIGGER_FOR_ROW(trigger->tgtype) || get_func_namespace(trigger->tgfoid) != schema)
			return false;
	}
	return true;
}

/*
 * Whether a statement would do no more with a table than is done here.
 */
static bool
IsPlain(Relation relation)
{
	return relation->rd_rules == NULL && HasOwnTriggers(relation);
}

static bool
IsGiven(const HvTable *table, AttrNumber number)
{
	for (int i = 0; i < HV_MAX_COLUMNS && table->columns[i].name != NULL; i++)
		if (table->numbers[i] == number)
			return true;
	return false;
}

/*
 * Whether a column may have a value although none is given: one that is generated is computed.
 */
static bool
HasDefault(Form_pg_attribute column)
{
	return !column->attisdropped && column->attgenerated == '\0' &&
		(column->atthasdef || column->attidentity != '\0' || get_typtype(column->atttypid) == TYPTYPE_DOMAIN);
}

/*
 * Whether every column of a table that has a default is among those that are given.
 */
static bool
IsComplete(const HvTable *table, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts; i++)
		if (HasDefault(TupleDescAttr(desc, i)) && !IsGiven(table, i + 1))
			return false;
	return true;
}

/*
 * Whether a table can be written here, and so the one that it is a part of.
 */
static bool
IsWritable(const HvTable *table, const HvScan *scan)
{
	Form_pg_class form = scan->heap->rd_rel;

	return form->relam == HEAP_TABLE_AM_OID && !form->relhassubclass && form->relispartition == (scan->root != NULL) &&
		IsPlain(scan->heap) && (scan->root == NULL || IsPlain(scan->root)) && (!table->inserted || IsComplete(table, scan->heap));
}

/*
 * Make the range table of one table that is written.
 */
static void
InitRangeTable(EState *estate, Relation relation)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
#if PG_VERSION_NUM >= 160000
	List	   *permissions = NIL;
#endif

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(relation);
	entry->relkind = relation->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 180000
	addRTEPermissionInfo(&permissions, entry);
	ExecInitRangeTable(estate, list_make1(entry), permissions, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&permissions, entry);
	ExecInitRangeTable(estate, list_make1(entry), permissions);
#else
	ExecInitRangeTable(estate, list_make1(entry));
#endif
}

/*
 * A slot for rows of a table. Its descriptor is a copy, which a transaction need not hold.
 */
static TupleTableSlot *
MakeSlot(Relation relation)
{
	return MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(relation)), table_slot_callbacks(relation));
}

/*
 * Make ready to run the triggers of a table: what the executor would make of them when they run would not be there the
 * next time.
 */
static void
PrepareTriggers(ResultRelInfo *info, Relation relation)
{
	for (int i = 0; info->ri_TrigDesc != NULL && i < info->ri_TrigDesc->numtriggers; i++)
		fmgr_info(info->ri_TrigDesc->triggers[i].tgfoid, &info->ri_TrigFunctions[i]);
	info->ri_TrigOldSlot = MakeSlot(relation);
	info->ri_TrigNewSlot = MakeSlot(relation);
}

/*
 * Learn which indexes a table has, and how their entries are made; false if one is no btree, which may keep more than that.
 */
static bool
PrepareIndexes(HvWriter *writer)
{
	ResultRelInfo *info = writer->info;
	bool		known = true;

	ExecOpenIndices(info, true);	/* for HvInsertUnlessThere */
	writer->nindexes = info->ri_NumIndices;
	writer->indexes = palloc_array(Oid, Max(writer->nindexes, 1));
	for (int i = 0; i < writer->nindexes; i++)
	{
		writer->indexes[i] = RelationGetRelid(info->ri_IndexRelationDescs[i]);
		known = known && info->ri_IndexRelationDescs[i]->rd_rel->relam == BTREE_AM_OID;
	}
	ExecCloseIndices(info);
	info->ri_NumIndices = 0;
	return known;
}

/*
 * Whether a function is in C, and immutable if it has to be.
 */
static bool
IsInC(Oid function, bool immutable)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		is;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	is = (form->prolang == INTERNALlanguageId || form->prolang == ClanguageId) &&
		(!immutable || form->provolatile == PROVOLATILE_IMMUTABLE);
	ReleaseSysCache(tuple);
	return is;
}

static bool
MayNeedPath(Oid function, void *context)
{
	return !IsInC(function, true);
}

/*
 * Whether what an expression calls may depend on search_path. CURRENT_SCHEMA does, and so may the checks of a domain.
 */
static bool
ExpressionNeedsPath(Node *node, void *context)
{
	return node != NULL && (IsA(node, SQLValueFunction) || IsA(node, CoerceToDomain) ||
							check_functions_in_node(node, MayNeedPath, context) ||
							expression_tree_walker(node, ExpressionNeedsPath, context));
}

static bool
TriggersNeedPath(const TriggerDesc *triggers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgqual != NULL || !IsInC(triggers->triggers[i].tgfoid, false))
			return true;
	return false;
}

/*
 * Whether generated columns are computed when a row is written. An update computes those that are made of what it changes, and
 * after a trigger before it all.
 */
static bool
ComputesColumns(const HvTable *table, Relation relation)
{
	return RelationGetDescr(relation)->constr->has_generated_stored &&
		(!table->ungenerated || (relation->trigdesc != NULL && relation->trigdesc->trig_update_before_row));
}

static bool
ConstraintsNeedPath(const HvTable *table, Relation relation)
{
	const TupleConstr *constraints = RelationGetDescr(relation)->constr;

	if (constraints == NULL)
		return false;
	if (ComputesColumns(table, relation))
		return true;
#if PG_VERSION_NUM >= 180000
	if (constraints->has_generated_virtual)
		return true;
#endif
	for (int i = 0; i < constraints->num_check; i++)
		if (ExpressionNeedsPath(stringToNode(constraints->check[i].ccbin), NULL))
			return true;
	return false;
}

/*
 * Whether what runs when a row is written may depend on search_path. What the tables of the schema have does not, but for
 * generated columns.
 */
static bool
NeedsPath(const HvTable *table, const HvWriter *writer, Relation relation)
{
	if (TriggersNeedPath(relation->trigdesc) || ConstraintsNeedPath(table, relation))
		return true;
	for (int i = 0; i < writer->nindexes; i++)
	{
		IndexInfo  *index = writer->info->ri_IndexRelationInfo[i];

		if (ExpressionNeedsPath((Node *) index->ii_Expressions, NULL) || ExpressionNeedsPath((Node *) index->ii_Predicate, NULL))
			return true;
	}
	return false;
}

/*
 * Make what is kept of a table.
 */
static HvWriter *
MakeWriter(const HvTable *table, const HvScan *scan)
{
	Relation	relation = scan->heap;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hyperion_vault table", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	HvWriter   *writer = palloc0(sizeof(HvWriter));

	writer->context = context;
	writer->finding = table->finding;
	writer->functions = functions;
	writer->estate = CreateExecutorState();
	InitRangeTable(writer->estate, relation);
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, relation, 1, NULL, 0);
	writer->estate->es_opened_result_relations = list_make1(writer->info);
	writer->row = MakeSlot(relation);
	writer->old = MakeSlot(relation);
	PrepareTriggers(writer->info, relation);
	writer->writable = IsWritable(table, scan) && PrepareIndexes(writer);
	writer->needs_path = writer->writable && NeedsPath(table, writer, relation);
	MemoryContextSwitchTo(before);
	MemoryContextSetParent(context, CacheMemoryContext);
	return writer;
}

void
HvForgetWriter(HvTable *table)
{
	HvWriter   *writer = table->writer;

	table->writer = NULL;
	if (writer != NULL)
		MemoryContextDelete(writer->context);
}

/*
 * What is kept of an open table, or made of it now; NULL if the table takes a statement.
 */
HvWriter *
HvWriterOf(HvTable *table, const HvScan *scan)
{
	HvWriter   *writer = table->writer;

	HearOfFunctions();
	if (writer != NULL && (writer->busy || writer->finding != table->finding || writer->functions != functions))
		HvForgetWriter(table);
	if (table->writer == NULL)
		table->writer = MakeWriter(table, scan);
	return table->writer->writable ? table->writer : NULL;
}

/*
 * Have the search_path that the functions in SQL have, if what runs when a row is written may depend on it. That is not always
 * set: PostgreSQL goes through all settings to take one back, and finds the schemas of the caller's path again.
 */
void
HvSetPath(HvWriter *writer)
{
	if (!writer->needs_path)
		return;
	writer->level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
HvResetPath(const HvWriter *writer)
{
	if (writer->needs_path)
		AtEOXact_GUC(true, writer->level);
}
