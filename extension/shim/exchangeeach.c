/*
 * exchangeeach.c: asks the key agent for the data keys of many secrets at once, and reports those that were refused. It is
 * frame.OpReadEach, which is also an audit record of each.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "batch.h"
#include "golib.h"
#include "lib/stringinfo.h"
#include "open.h"
#include "port/pg_bswap.h"
#include "request.h"

/* as in core/frame */
#define MAX_ITEMS	1024
#define MAX_BODY	(HV_MAX_FRAME_LEN - 16 * 1024)	/* of items: the rest of a request is much shorter */

/* what remains of an answer */
typedef struct Cursor
{
	const unsigned char *at;
	size_t		left;
	bool		broken;
} Cursor;

/*
 * As many of the next items as one request may have.
 */
HvSpan
HvNextSpan(HvItem *items, int n)
{
	HvSpan		span = {items, 0};
	size_t		size = 0;

	while (span.n < n && span.n < MAX_ITEMS)
	{
		HvItem	   *item = &items[span.n];

		size += 64 + item->name.len + item->stored.key_id.len + item->stored.wrapped.len;
		if (span.n > 0 && size > MAX_BODY)
			break;
		span.n++;
	}
	return span;
}

static void
PutItem(StringInfo frame, const HvItem *item)
{
	uint64		version = pg_hton64((uint64) item->stored.version);

	/* The record of what is no name has none. */
	HvPut(frame, item->plain ? item->name : HvLiteral(""));
	HvPut(frame, HvLiteral(item->sqlstate == 0 ? "" : HvAuditCode(item->sqlstate)));
	if (item->sqlstate != 0)
		return;
	appendBinaryStringInfo(frame, (const char *) item->id.data, HV_ID_LEN);
	appendBinaryStringInfo(frame, (const char *) &version, sizeof(version));
	HvPut(frame, item->stored.key_id);
	HvPut(frame, item->stored.wrapped);
}

static const unsigned char *
TakeRaw(Cursor *cursor, size_t len)
{
	const unsigned char *taken = cursor->at;

	if (cursor->broken || len > cursor->left)
	{
		cursor->broken = true;
		return NULL;
	}
	cursor->at += len;
	cursor->left -= len;
	return taken;
}

static HvBytes
TakeBytes(Cursor *cursor)
{
	const unsigned char *head = TakeRaw(cursor, sizeof(uint32));
	uint32		len = 0;

	if (head != NULL)
		memcpy(&len, head, sizeof(len));
	len = pg_ntoh32(len);
	return (HvBytes) {TakeRaw(cursor, len), len};
}

/*
 * Take the answer to one item: its key, or NULL after the item was failed.
 */
static const unsigned char *
TakeResult(Cursor *cursor, HvItem *item)
{
	HvBytes		code = TakeBytes(cursor);
	HvBytes		rest = TakeBytes(cursor);

	if (cursor->broken)
		return NULL;
	if (code.len == 0)
	{
		if (rest.len != HV_KEY_LEN || item->sqlstate != 0)
			cursor->broken = true;
		return rest.data;
	}
	if (item->sqlstate == 0)
		HvFail(item, HvSqlStateOf(pnstrdup((const char *) code.data, code.len)),
			   psprintf("key agent: %.*s", (int) rest.len, (const char *) rest.data));
	return NULL;
}

/*
 * Ask for the keys of items, and have each of them recorded. The keys lie in wipe-on-reset memory of the current context; NULL
 * where there is none. May ereport, for all items together.
 */
const unsigned char **
HvExchangeEach(HvCall *call, HvSpan span)
{
	static const unsigned char success[] = {HV_PROTOCOL_VERSION, HV_OP_READ_EACH, 0, 0, 0, 0};
	const unsigned char **keys = palloc_array(const unsigned char *, span.n);
	StringInfoData frame;
	HvBytes		body;
	uint32		count = pg_hton32((uint32) span.n);
	const unsigned char *head;
	Cursor		cursor;

	HvBeginRequest(&frame, &call->origin, HV_OP_READ_EACH);
	appendBinaryStringInfo(&frame, (const char *) &count, sizeof(count));
	for (int i = 0; i < span.n; i++)
		PutItem(&frame, &span.items[i]);
	body = HvAgentExchange(HvEndRequest(&frame));
	cursor = (Cursor) {body.data, body.len, false};
	head = TakeRaw(&cursor, sizeof(success) + sizeof(count));
	cursor.broken |= head == NULL || memcmp(head, success, sizeof(success)) != 0 ||
		memcmp(head + sizeof(success), &count, sizeof(count)) != 0;
	for (int i = 0; i < span.n && !cursor.broken; i++)
		keys[i] = TakeResult(&cursor, &span.items[i]);
	if (cursor.broken || cursor.left > 0)
	{
		HV_CALL_GO(recorded, body);	/* which knows why it is no answer to this */
		elog(ERROR, "the key agent answered another question");
	}
	pfree(frame.data);
	return keys;
}
