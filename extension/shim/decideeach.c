/*
 * decideeach.c: which of many names a role may read, in one statement, and what is stored of them, in another.
 */
#include "hyperion_vault.h"

#include "batch.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "runas.h"
#include "sealed.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

static HvStatement granted_statement = {
	"SELECT DISTINCT g.pattern FROM vault.granting($1, $2, $3) g", 3, {OIDOID, TEXTOID, TEXTARRAYOID}, true
};
static HvStatement stored_statement = {
	"SELECT " HV_STORED_COLUMNS ", v.name FROM vault.readable_versions($1, NULL) v", 1, {TEXTARRAYOID}, true
};
static HvStatement present_statement = {
	"SELECT s.name FROM vault.secrets s WHERE s.name OPERATOR(pg_catalog.=) ANY ($1) AND s.deleted_at IS NULL",
	1, {TEXTARRAYOID}, true
};
/* those of them whose current version is deleted, or that have none yet */
static HvStatement deleted_statement = {
	"SELECT s.name FROM vault.secrets s WHERE s.name OPERATOR(pg_catalog.=) ANY ($1) AND s.deleted_at IS NULL"
	" AND (s.current_version OPERATOR(pg_catalog.<) s.first_version"
	" OR EXISTS (SELECT FROM vault.deleted_versions d"
	" WHERE d.secret_id OPERATOR(pg_catalog.=) s.id AND d.version OPERATOR(pg_catalog.=) s.current_version)"
	" OR EXISTS (SELECT FROM vault.secret_versions v"
	" WHERE v.secret_id OPERATOR(pg_catalog.=) s.id AND v.version OPERATOR(pg_catalog.=) s.current_version"
	" AND v.delete_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()))",
	1, {TEXTARRAYOID}, true
};

#define PATTERN_SIZE	(HV_MAX_NAME_LEN + 3)	/* of a prefix, with its star and the zero byte */

/* a pattern, or a name */
typedef struct Entry
{
	char		text[PATTERN_SIZE];
	bool		holds;			/* it is granted, or a name was found */
	bool		deleted;		/* of a name: its current version is */
	HvItem		found;
} Entry;

static HTAB *
MakeDecisionTable(int n)
{
	HASHCTL		control = {.keysize = PATTERN_SIZE, .entrysize = sizeof(Entry), .hcxt = CurrentMemoryContext};

	return hash_create("hyperion_vault names", Max(n, 16), &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/*
 * The entry of the first len bytes of a name, perhaps with a star behind them; made if action is HASH_ENTER.
 */
static Entry *
FindDecision(HTAB *table, HvBytes name, size_t len, bool star, HASHACTION action)
{
	char		text[PATTERN_SIZE];
	bool		known;
	Entry	   *entry;

	memcpy(text, name.data, len);
	if (star)
		text[len++] = '*';
	text[len] = '\0';
	entry = hash_search(table, text, action, &known);
	if (entry != NULL && !known)
	{
		entry->holds = false;
		entry->deleted = false;
		entry->found = (HvItem) {0};
	}
	return entry;
}

/*
 * Look up every pattern that selects a name, as hv_matching_patterns() makes them; whether one of them holds.
 */
static bool
FindPatterns(HTAB *table, HvBytes name, HASHACTION action)
{
	bool		holds = FindDecision(table, name, name.len, false, action)->holds;

	holds |= FindDecision(table, name, 0, true, action)->holds;
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] == '/')
			holds |= FindDecision(table, name, i + 1, true, action)->holds;
	return holds;
}

/*
 * The texts of a table as text[]. Palloc'd.
 */
static Datum
TextsOf(HTAB *table)
{
	int			n = 0;
	Datum	   *texts = palloc_array(Datum, Max(hash_get_num_entries(table), 1));
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
		texts[n++] = CStringGetTextDatum(entry->text);
	return PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Mark the entries whose text is in the first column of the rows of the last statement.
 */
static void
MarkRows(HTAB *table, bool as_deleted)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		Entry	   *entry = hash_search(table, text, HASH_FIND, NULL);

		if (entry != NULL && as_deleted)
			entry->deleted = true;
		else if (entry != NULL)
			entry->holds = true;
		pfree(text);
	}
}

/*
 * Decide about each name that is one.
 */
static void
DecideEach(HvCall *call, HvItem *items, int n)
{
	HTAB	   *patterns = MakeDecisionTable(n);
	HvParams	params = {0};

	if (HvIsSuperuser(call->role))
		return;
	for (int i = 0; i < n; i++)
		if (items[i].plain)
			(void) FindPatterns(patterns, items[i].name, HASH_ENTER);
	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddText(&params, HvLiteral(call->action));
	HvAdd(&params, TextsOf(patterns));
	HvOwnerLook(&granted_statement, &params);
	MarkRows(patterns, false);
	SPI_finish();
	for (int i = 0; i < n; i++)
		if (items[i].plain && !FindPatterns(patterns, items[i].name, HASH_FIND))
			HvFail(&items[i], ERRCODE_INSUFFICIENT_PRIVILEGE,
				   psprintf("permission denied to read secret \"%s\"", (const char *) items[i].name.data));
	hash_destroy(patterns);
}

/*
 * Fetch what is stored of the names in a table, into the memory of the call.
 */
static void
FetchEach(HvCall *call, HTAB *names)
{
	HvParams	params = {0};
	MemoryContext spi;

	SPI_connect();
	HvAdd(&params, TextsOf(names));
	HvOwnerLook(&stored_statement, &params);
	spi = MemoryContextSwitchTo(call->context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HvBytes		name = HvColumnBytes(SPI_tuptable->vals[i], HV_STORED_NAME);
		Entry	   *entry = FindDecision(names, name, name.len, false, HASH_FIND);

		entry->holds = true;
		HvReadStored(SPI_tuptable->vals[i], &entry->found.id, &entry->found.content_type, &entry->found.stored);
	}
	MemoryContextSwitchTo(spi);
	SPI_finish();
}

/*
 * Say of the names that have no row why: there is no such secret, or its current version is deleted or lost.
 */
static void
ExplainMissing(HTAB *missing, HvItem *items, int n)
{
	HvParams	params = {0};

	if (hash_get_num_entries(missing) == 0)
		return;
	SPI_connect();
	HvAdd(&params, TextsOf(missing));
	HvOwnerLook(&present_statement, &params);
	MarkRows(missing, false);
	HvOwnerLook(&deleted_statement, &params);
	MarkRows(missing, true);
	SPI_finish();
	for (int i = 0; i < n; i++)
	{
		const char *name = (const char *) items[i].name.data;
		Entry	   *entry;

		if (items[i].sqlstate != 0 || items[i].found)
			continue;
		entry = FindDecision(missing, items[i].name, items[i].name.len, false, HASH_FIND);
		if (entry->deleted)
			HvFail(&items[i], ERRCODE_UNDEFINED_OBJECT, psprintf("secret \"%s\" has no current version", name));
		else if (entry->holds)
			HvFail(&items[i], ERRCODE_DATA_CORRUPTED, psprintf("the current version of secret \"%s\" is not there", name));
		else
			HvFail(&items[i], ERRCODE_UNDEFINED_OBJECT, psprintf("secret \"%s\" does not exist", name));
	}
}

/*
 * Decide about each name and fetch its current version, or say why not. Palloc'd in the call's context, which is current.
 */
void
HvFindEach(HvCall *call, HvItem *items, int n)
{
	HTAB	   *names = MakeDecisionTable(n);
	HTAB	   *missing = MakeDecisionTable(16);

	DecideEach(call, items, n);
	for (int i = 0; i < n; i++)
		if (items[i].sqlstate == 0)
			(void) FindDecision(names, items[i].name, items[i].name.len, false, HASH_ENTER);
	if (hash_get_num_entries(names) > 0)
		FetchEach(call, names);
	for (int i = 0; i < n; i++)
	{
		Entry	   *entry;

		if (items[i].sqlstate != 0)
			continue;
		entry = FindDecision(names, items[i].name, items[i].name.len, false, HASH_FIND);
		items[i].found = entry->holds;
		items[i].id = entry->found.id;
		items[i].content_type = entry->found.content_type;
		items[i].stored = entry->found.stored;
		if (!entry->holds)
			(void) FindDecision(missing, items[i].name, items[i].name.len, false, HASH_ENTER);
	}
	ExplainMissing(missing, items, n);
	hash_destroy(names);
	hash_destroy(missing);
}
