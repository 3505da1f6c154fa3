/*
 * batch.c: vault.read_secrets(), which reads many secrets in one statement. It makes one decision and one query, and asks
 * the agent for all keys at once. A name that cannot be read is a row with its error.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "batch.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "golib.h"
#include "secretmem.h"
#include "miscadmin.h"
#include "open.h"
#include "request.h"
#include "sealed.h"
#include "text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

enum
{
	NAME, VERSION, VALUE, SQLSTATE, ERROR_TEXT, COLUMNS
};

/*
 * Say why an item has no value. The message is palloc'd or constant.
 */
void
HvFail(HvItem *item, int sqlstate, const char *message)
{
	item->sqlstate = sqlstate;
	item->message = message;
}

static void
FailBy(HvItem *item, const HvError *failure)
{
	HvFail(item, HvSqlStateOf(failure->code), pstrdup(failure->message));
}

/*
 * The names as items; what is no name has failed already.
 */
static HvItem *
ItemsOf(ArrayType *names, int *n)
{
	Datum	   *texts;
	bool	   *nulls;
	HvItem	   *items;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, n);
	items = palloc_extended(sizeof(HvItem) * Max(*n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *n; i++)
	{
		HvItem	   *item = &items[i];
		HvError		failure;
		int			rc = 0;

		if (nulls[i])
		{
			HvFail(item, ERRCODE_NULL_VALUE_NOT_ALLOWED, "name must not be null");
			continue;
		}
		item->name = HvLiteral(TextDatumGetCString(texts[i]));
		item->plain = HvIsName(item->name);
		if (!item->plain)
			HV_TRY_GO(rc, check_name, item->name, &failure);
		if (rc != 0)
			FailBy(item, &failure);
		item->plain = rc == 0;
	}
	return items;
}

/*
 * Fail the items whose values text cannot hold.
 */
static void
RequireText(HvItem *items, int n)
{
	for (int i = 0; i < n; i++)
	{
		HvError		failure;
		int			rc = 0;

		if (items[i].sqlstate != 0 || HvIsReadableText(items[i].content_type))
			continue;
		HV_TRY_GO(rc, check_text, items[i].content_type, false, &failure);
		if (rc != 0)
			FailBy(&items[i], &failure);
	}
}

/*
 * The value of an item, opened with its key; NULL after the item was failed, and that was recorded.
 */
static text *
OpenItem(HvCall *call, HvItem *item, const unsigned char *key)
{
	HvBinding	binding = {item->id, item->name, item->stored.version, item->content_type};
	text	   *value = HvOpenPlain(key, &binding, &item->stored);
	HvBytes		body;
	HvBuf		opened = {NULL, 0};
	HvError		failure;
	int			rc;

	if (value != NULL)
		return value;
	body = HvAnswerOf(key);
	HV_TRY_GO(rc, open, body, &binding, &item->stored, &opened, &failure);
	HvSecretWipe(body.data);
	if (rc == 0)
	{
		body = HvTakeBuf(&opened);
		value = cstring_to_text_with_len((const char *) body.data, body.len);
		HvSecretWipe(body.data);
		return value;
	}
	FailBy(item, &failure);
	call->name = item->name;
	call->version = item->stored.version;
	HvRecord(call, "failed", HvAuditCode(item->sqlstate));
	call->name = HvLiteral("");
	call->version = 0;
	return NULL;
}

static void
PutRow(ReturnSetInfo *result, const HvItem *item, text *value)
{
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {true, true, true, true, true};

	if (item->name.data != NULL)
		values[NAME] = CStringGetTextDatum((const char *) item->name.data);
	nulls[NAME] = item->name.data == NULL;
	if (value != NULL)
	{
		values[VERSION] = Int64GetDatum(item->stored.version);
		values[VALUE] = PointerGetDatum(value);
		nulls[VERSION] = nulls[VALUE] = false;
	}
	else
	{
		values[SQLSTATE] = CStringGetTextDatum(unpack_sql_state(item->sqlstate));
		values[ERROR_TEXT] = CStringGetTextDatum(item->message);
		nulls[SQLSTATE] = nulls[ERROR_TEXT] = false;
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Begin the result: in memory, whatever its size, for what does not fit work_mem would go to a temporary file.
 */
static ReturnSetInfo *
BeginResult(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, 0);
	caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	tuplestore_end(result->setResult);
	result->setResult = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false,
											  (int) (MaxAllocHugeSize / 1024 > INT_MAX ? INT_MAX : MaxAllocHugeSize / 1024));
	MemoryContextSwitchTo(caller);
	return result;
}

/*
 * Read each name into a row of the result, in their order.
 */
static void
ReadEach(HvCall *call, FunctionCallInfo fcinfo, ArrayType *names)
{
	int			n;
	HvItem	   *items = ItemsOf(names, &n);
	ReturnSetInfo *result = BeginResult(fcinfo);
	HvSpan		span;

	HvFindEach(call, items, n);
	RequireText(items, n);
	for (int done = 0; done < n; done += span.n)
	{
		const unsigned char **keys;

		span = HvNextSpan(items + done, n - done);
		keys = HvExchangeEach(call, span);
		for (int i = 0; i < span.n; i++)
		{
			text	   *value = keys[i] == NULL ? NULL : OpenItem(call, &span.items[i], keys[i]);

			CHECK_FOR_INTERRUPTS();
			PutRow(result, &span.items[i], value);
			if (value != NULL)
			{
				explicit_bzero(VARDATA(value), VARSIZE(value) - VARHDRSZ);
				pfree(value);
			}
		}
	}
	HvLogGive();
}

static Datum
ReadSecrets(HvCall *call, FunctionCallInfo fcinfo)
{
	RequireArg(fcinfo, 0, "names");
	ReadEach(call, fcinfo, PG_GETARG_ARRAYTYPE_P(0));
	return (Datum) 0;
}

static Datum
ReadSecretsBelow(HvCall *call, FunctionCallInfo fcinfo)
{
	HvBytes		prefix;

	RequireArg(fcinfo, 0, "prefix");
	prefix = HvTextBytes(PG_GETARG_TEXT_PP(0));
	HV_CALL_GO(check_prefix, prefix);
	ReadEach(call, fcinfo, HvReadableNames(call, prefix));
	return (Datum) 0;
}

HV_FUNCTION(hv_read_secrets, "read", ReadSecrets)
HV_FUNCTION(hv_read_secrets_below, "read", ReadSecretsBelow)
