/*
 * request.c: what C does itself in ordinary cases. It checks a plain name and a value of an ordinary content type, and
 * writes the requests for data keys.
 *
 * A call into Go wakes threads of its own, which costs more than these do. What is not plain goes to Go: there is
 * the rule (core.ParseName, core/frame), and there the words for what is wrong.
 */
#include "hyperion_vault.h"

#include "golib.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "request.h"

/* as in core/frame */
#define MAX_TEXT			255
#define MAX_REQUEST_ID_LEN	128
#define MAX_KEY_ID_LEN		2048
#define MAX_WRAPPED_LEN		6144

/* as in core: Text and Binary */
#define TEXT_TYPE			"text/plain; charset=utf-8"
#define BINARY_TYPE			"application/octet-stream"

static bool
IsNameByte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/*
 * Whether bytes are a name by the rule of core.ParseName. False is no answer: Go knows.
 */
bool
HvIsName(HvBytes name)
{
	size_t		start = 0;		/* of the segment */

	if (name.len > HV_MAX_NAME_LEN)
		return false;
	for (size_t i = 0; i <= name.len; i++)
	{
		const unsigned char *segment = name.data + start;
		size_t		len = i - start;

		if (i < name.len && name.data[i] != '/')
		{
			if (!IsNameByte(name.data[i]))
				return false;
			continue;
		}
		if (len == 0 || (segment[0] == '.' && (len == 1 || (len == 2 && segment[1] == '.'))))
			return false;
		start = i + 1;
	}
	return true;
}

static bool
HasLength(HvBytes bytes, size_t least, size_t most)
{
	return bytes.len >= least && bytes.len <= most;
}

/*
 * Whether a caller's description is plainly within its limits.
 */
bool
HvIsPlainOrigin(const HvOrigin *origin)
{
	return HasLength(origin->database, 1, MAX_TEXT) && HasLength(origin->role, 1, MAX_TEXT) &&
		HasLength(origin->session_role, 0, MAX_TEXT) && HasLength(origin->client_addr, 0, MAX_TEXT) &&
		HasLength(origin->request_id, 0, MAX_REQUEST_ID_LEN);
}

/*
 * Whether a wrapped key is plainly within its limits.
 */
bool
HvIsPlainKey(HvBytes key_id, HvBytes wrapped)
{
	return HasLength(key_id, 1, MAX_KEY_ID_LEN) && HasLength(wrapped, 1, MAX_WRAPPED_LEN);
}

static bool
IsPlain(const HvOrigin *origin, const HvStored *stored, int n)
{
	if (n < 1 || n > HV_KEYS_PER_REQUEST || !HvIsPlainOrigin(origin))
		return false;
	for (int i = 0; i < n; i++)
		if (stored[i].version < 1 || !HvIsPlainKey(stored[i].key_id, stored[i].wrapped))
			return false;
	return true;
}

static void
Put32(StringInfo to, uint32 value)
{
	value = pg_hton32(value);
	appendBinaryStringInfo(to, (const char *) &value, sizeof(value));
}

static void
Put64(StringInfo to, uint64 value)
{
	value = pg_hton64(value);
	appendBinaryStringInfo(to, (const char *) &value, sizeof(value));
}

/*
 * Append bytes with their length in front.
 */
void
HvPut(StringInfo to, HvBytes bytes)
{
	Put32(to, (uint32) bytes.len);
	if (bytes.len > 0)
		appendBinaryStringInfo(to, (const char *) bytes.data, (int) bytes.len);
}

/*
 * Begin a framed request with what all requests have; palloc'd.
 */
void
HvBeginRequest(StringInfo frame, const HvOrigin *origin, char op)
{
	initStringInfo(frame);
	Put32(frame, 0);
	appendStringInfoCharMacro(frame, HV_PROTOCOL_VERSION);
	appendStringInfoCharMacro(frame, op);
	HvPut(frame, origin->database);
	HvPut(frame, origin->role);
	HvPut(frame, origin->session_role);
	HvPut(frame, origin->client_addr);
	HvPut(frame, origin->request_id);
}

/*
 * The request that was started, with its length in front.
 */
HvBytes
HvEndRequest(StringInfo frame)
{
	uint32		len = pg_hton32((uint32) (frame->len - sizeof(uint32)));

	memcpy(frame->data, &len, sizeof(len));
	return (HvBytes) {(const unsigned char *) frame->data, (size_t) frame->len};
}

/*
 * The framed request for the data keys of n versions, as frame.AppendRequest makes it; palloc'd. Nothing in it is secret.
 * Empty when a field is not as it has to be: Go says what is wrong with it.
 */
HvBytes
HvPlainUnwrapRequest(const HvOrigin *origin, HvBytes action, const HvBinding *binding, const HvStored *stored, int n)
{
	StringInfoData frame;

	if (!IsPlain(origin, stored, n))
		return (HvBytes) {NULL, 0};
	HvBeginRequest(&frame, origin, HV_OP_UNWRAP);
	HvPut(&frame, action);
	HvPut(&frame, binding->name);
	appendBinaryStringInfo(&frame, (const char *) binding->id.data, HV_ID_LEN);
	Put32(&frame, (uint32) n);
	for (int i = 0; i < n; i++)
	{
		Put64(&frame, (uint64) stored[i].version);
		HvPut(&frame, stored[i].key_id);
		HvPut(&frame, stored[i].wrapped);
	}
	return HvEndRequest(&frame);
}

/*
 * The framed request for the data key of a version, to be kept for so long; file is the number of the file of leased reads
 * that is open, 0 for none. Palloc'd; empty when a field is not as it has to be.
 */
HvBytes
HvPlainLeaseRequest(const HvOrigin *origin, const HvBinding *binding, const HvStored *stored, uint64 secs, uint64 file)
{
	StringInfoData frame;

	if (!IsPlain(origin, stored, 1))
		return (HvBytes) {NULL, 0};
	HvBeginRequest(&frame, origin, HV_OP_LEASE);
	HvPut(&frame, binding->name);
	appendBinaryStringInfo(&frame, (const char *) binding->id.data, HV_ID_LEN);
	Put64(&frame, (uint64) stored->version);
	HvPut(&frame, stored->key_id);
	HvPut(&frame, stored->wrapped);
	Put64(&frame, secs);
	Put64(&frame, file);
	return HvEndRequest(&frame);
}

/*
 * The framed request for a new data key; palloc'd. Empty when a field is not as it has to be.
 */
HvBytes
HvPlainGenerateRequest(const HvOrigin *origin, const HvBinding *binding)
{
	static const unsigned char zero[HV_ID_LEN] = {0};
	StringInfoData frame;

	if (!HvIsPlainOrigin(origin) || binding->version < 1 || memcmp(binding->id.data, zero, HV_ID_LEN) == 0)
		return (HvBytes) {NULL, 0};
	HvBeginRequest(&frame, origin, HV_OP_GENERATE);
	appendBinaryStringInfo(&frame, (const char *) binding->id.data, HV_ID_LEN);
	Put64(&frame, (uint64) binding->version);
	return HvEndRequest(&frame);
}

static bool
EqualsLiteral(HvBytes bytes, const char *literal)
{
	return bytes.len == strlen(literal) && memcmp(bytes.data, literal, bytes.len) == 0;
}

/*
 * Whether a content type is one of the two that most secrets have, in their canonical form. False is no answer.
 */
bool
HvIsPlainType(HvBytes content_type)
{
	return EqualsLiteral(content_type, TEXT_TYPE) || EqualsLiteral(content_type, BINARY_TYPE);
}

/*
 * Whether a value may plainly be stored under a content type, by the rule of core.ContentType.CheckValue. False is no answer.
 */
bool
HvIsPlainValue(HvBytes content_type, HvBytes value)
{
	if (!HasLength(value, 1, (size_t) HvMaxValueBytes) || !HvIsPlainType(content_type))
		return false;
	/* which refuses a zero byte too */
	return EqualsLiteral(content_type, BINARY_TYPE) || pg_verify_mbstr(PG_UTF8, (const char *) value.data, (int) value.len, true);
}

static char readable[64] = TEXT_TYPE;
static size_t readable_len = sizeof(TEXT_TYPE) - 1;

/*
 * Whether values of a content type are plainly text: it is the usual one, or the last that Go took. False is no answer.
 */
bool
HvIsReadableText(HvBytes content_type)
{
	return content_type.len == readable_len && memcmp(content_type.data, readable, readable_len) == 0;
}

/*
 * Refuse a content type whose values text cannot hold. Go is asked once in a row for one.
 */
void
HvCheckReadableText(HvBytes content_type)
{
	if (HvIsReadableText(content_type))
		return;
	HV_CALL_GO(check_text, content_type, false);
	if (content_type.len <= sizeof(readable))
	{
		memcpy(readable, content_type.data, content_type.len);
		readable_len = content_type.len;
	}
}

/*
 * Refuse to take a value as text under a content type whose values text cannot hold.
 */
void
HvCheckGivenText(HvBytes content_type)
{
	if (!HvIsReadableText(content_type))
		HV_CALL_GO(check_text, content_type, true);
}
