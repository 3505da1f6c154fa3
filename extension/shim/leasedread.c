/*
 * leasedread.c: reads with a leased data key, and reads that ask for one.
 *
 * A leased key saves the conversation with the agent and nothing else: the statement that has found the version has
 * decided, just before, that the caller may read it.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "golib.h"
#include "keylease.h"
#include "open.h"
#include "port/pg_bswap.h"
#include "request.h"
#include "secretmem.h"

#define OLD_AGENT_MS	60000	/* how long an agent that knows no leases is not asked for one */

static int64 old_agent_until = 0;

/* the answer to a request for a lease: a key, for how long, and the file to record its reads in */
typedef struct LeaseAnswer
{
	const unsigned char *key;
	uint64		ms;
	uint64		file;
} LeaseAnswer;

/*
 * Open a value with a leased key and record the read. NULL if there is no lease, or it is no longer of use: then the agent
 * is asked. Palloc'd.
 */
bytea *
HvOpenLeased(HvCall *call, HvBinding *binding, HvStored *stored)
{
	const unsigned char *key = HvUseLease(binding, stored);
	bytea	   *result = key == NULL ? NULL : HvOpenPlain(key, binding, stored);

	HvEndLeaseUse();
	if (result == NULL || HvRecordLeased(call, stored->version))
		return result;
	/* A full disk, perhaps: the agent can make space, or refuses. */
	explicit_bzero(VARDATA(result), VARSIZE(result) - VARHDRSZ);
	pfree(result);
	HvAgentDisconnect();
	return NULL;
}

static uint64
NumberAt(const unsigned char *from)
{
	uint64		number;

	memcpy(&number, from, sizeof(number));
	return pg_ntoh64(number);
}

/*
 * Read an answer of the agent; false when it is not plainly a key.
 */
static bool
IsLeaseAnswer(HvBytes body, LeaseAnswer *answer)
{
	static const unsigned char head[] = {HV_PROTOCOL_VERSION, HV_OP_LEASE, 0, 0, 0, 0, 0, 0, 0, HV_KEY_LEN};

	if (body.len != sizeof(head) + HV_KEY_LEN + 2 * sizeof(uint64) || memcmp(body.data, head, sizeof(head)) != 0)
		return false;
	answer->key = body.data + sizeof(head);
	answer->ms = NumberAt(answer->key + HV_KEY_LEN);
	answer->file = NumberAt(answer->key + HV_KEY_LEN + sizeof(uint64));
	answer->ms = Min(answer->ms, (uint64) HvKeyLeaseSecs * 1000);
	return true;
}

/*
 * Whether an answer says that the agent does not know the operation: it is older than this library.
 */
static bool
IsOldAgent(HvBytes body)
{
	static const unsigned char refusal[] = {HV_PROTOCOL_VERSION, 0, 0, 0, 0, 7, 'i', 'n', 'v', 'a', 'l', 'i', 'd'};

	return body.len >= sizeof(refusal) && memcmp(body.data, refusal, sizeof(refusal)) == 0;
}

/*
 * Open a value with a key that the agent lends, which is also the record of the read. NULL if this backend cannot ask for
 * one. Palloc'd; may ereport.
 */
bytea *
HvOpenLeasing(HvCall *call, HvBinding *binding, HvStored *stored)
{
	int64		from = HvLeaseClock();
	HvBytes		request;
	HvBytes		body;
	LeaseAnswer answer;
	bytea	   *result;
	bool		kept;

	if (from < old_agent_until || !HvCanLease())
		return NULL;
	request = HvPlainLeaseRequest(&call->origin, binding, stored, (uint64) HvKeyLeaseSecs, HvLeasedFile());
	if (request.len == 0)
		return NULL;
	body = HvAgentExchange(request);
	if (IsOldAgent(body))
	{
		old_agent_until = from + OLD_AGENT_MS;
		return NULL;
	}
	if (!IsLeaseAnswer(body, &answer))
	{
		HV_CALL_GO(recorded, body);	/* which has the words of a refusal */
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the key agent sent an answer to another question")));
	}
	kept = HvTakeLeasedFile(answer.file, HvAgentTakeDescriptor()) && answer.ms > 0;
	result = HvOpenPlain(answer.key, binding, stored);
	if (result == NULL)
		result = HvOpenByGo(HvAnswerOf(answer.key), binding, stored);
	else if (kept)
		HvKeepLease(binding, stored, answer.key, from, answer.ms);
	HvSecretWipe(body.data);
	return result;
}
