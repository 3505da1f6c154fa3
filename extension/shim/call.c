/*
 * call.c: runs the body of a plaintext function and has its failure audited.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "call.h"
#include "commands/dbcommands.h"
#include "golib.h"
#include "keylease.h"
#include "secretmem.h"
#include "miscadmin.h"
#include "request.h"
#include "storage/lwlock.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"	/* get_database_name, from PostgreSQL 19 on */
#include "utils/memutils.h"

/*
 * A zero-terminated string as borrowed bytes; NULL is empty.
 */
HvBytes
HvLiteral(const char *s)
{
	return (HvBytes) {(const unsigned char *) s, s == NULL ? 0 : strlen(s)};
}

/*
 * Address of the client, NULL when it came by a unix socket or there is none. It stays what it is for the session.
 */
static const char *
ClientAddress(void)
{
	static const char *kept = NULL;
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	if (kept != NULL || MyProcPort == NULL)	/* a background worker has none */
		return kept;
	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	if (!fcinfo->isnull)
		kept = MemoryContextStrdup(TopMemoryContext, TextDatumGetCString(DirectFunctionCall1(network_host, address)));
	return kept;
}

/*
 * What tells the requests of this process from those of others.
 */
static HvBytes
RequestId(void)
{
	static char id[16] = "";

	if (id[0] == '\0')
		snprintf(id, sizeof(id), "pid-%d", MyProcPid);
	return HvLiteral(id);
}

/*
 * Begin a call by the effective role. Palloc'd in the current context.
 */
void
HvBegin(HvCall *call, const char *action)
{
	HvRequireUtf8();
	HvForbidDumps();
	*call = (HvCall) {.action = action, .role = GetUserId(), .context = CurrentMemoryContext};
	call->origin.database = HvShown(get_database_name(MyDatabaseId));
	call->origin.role = HvShown(GetUserNameFromId(call->role, false));
	call->origin.session_role = HvShown(GetUserNameFromId(GetSessionUserId(), false));
	call->origin.client_addr = HvLiteral(ClientAddress());
	call->origin.request_id = RequestId();
}

/*
 * Check the name by the one rule there is, and make it the call's: a copy that ends in a zero byte, for messages.
 */
void
HvCheckName(HvCall *call, text *name)
{
	HvBytes		given = HvTextBytes(name);

	if (!HvIsName(given))
		HV_CALL_GO(check_name, given);
	call->name = HvLiteral(pnstrdup((const char *) given.data, given.len));
}

/*
 * Have an outcome recorded by the agent; returns when it is on its way to durable storage. May ereport.
 */
void
HvRecord(HvCall *call, const char *outcome, const char *code)
{
	HvBuf		request = {NULL, 0};
	HvBytes		body;

	HV_CALL_GO(record_request, &call->origin, HvLiteral(call->action), call->name, call->version,
			   HvLiteral(outcome), HvLiteral(code), &request);
	body = HvAgentExchange(HvTakeBuf(&request));
	HV_CALL_GO(recorded, body);
}

/*
 * Return the code of an error for the audit, NULL for what is no refusal: cancels, shutdown, the agent itself.
 */
const char *
HvAuditCode(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	if (sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE)
		return "denied";
	if (sqlstate == ERRCODE_UNDEFINED_OBJECT)
		return "not_found";
	if (sqlstate == ERRCODE_UNIQUE_VIOLATION)
		return "exists";
	if (sqlstate == HV_ERRCODE_STALE)
		return "stale";
	if (sqlstate == HV_ERRCODE_ROLE_CHANGED)
		return "invalid";
	if (sqlstate == ERRCODE_DATA_CORRUPTED)
		return "corrupt";
	if (sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return "too_large";
	if (category == ERRCODE_DATA_EXCEPTION)
		return "invalid";
	if (category == ERRCODE_CONNECTION_EXCEPTION || category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_INSUFFICIENT_RESOURCES)
		return NULL;
	/* a standby or a read-only transaction, a deadlock or a serialization failure, or a lock that was not waited for */
	if (category == ERRCODE_INVALID_TRANSACTION_STATE || category == ERRCODE_TRANSACTION_ROLLBACK ||
		category == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
		return "unavailable";
	return "internal";
}

/*
 * Record a failure, as from within a PG_CATCH. Nothing of the database is touched, and nothing leaves: the error that
 * is being handled follows in any case. A record that cannot be made is said in the server log.
 */
void
HvRecordFailure(HvCall *call, int sqlstate)
{
	const char *const volatile code = HvAuditCode(sqlstate);
	const char *const volatile outcome = sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE ? "denied" : "failed";

	if (code == NULL)
		return;
	/* What the abort will do first, because no backend may wait on our locks on shared memory while we wait for the agent. */
	LWLockReleaseAll();
	PG_TRY();
	{
		HvRecord(call, outcome, code);
	}
	PG_CATCH();
	{
		ErrorData  *why;

		MemoryContextSwitchTo(call->context);
		why = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(why->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();		/* cancelled while we waited */
		FlushErrorState();
		ereport(LOG,
				(errmsg("hyperion_vault: a %s %s by role \"%s\" could not be audited: %s", outcome, call->action,
						(const char *) call->origin.role.data, why->message),
				 errhidestmt(true)));
	}
	PG_END_TRY();
}

/*
 * Run the body of a plaintext function for the effective role of the caller. Its error is audited, then raised
 * again as one of ours, which logredact.c lets pass, with the context of the caller and without that of our own functions.
 */
Datum
HvRun(const char *action, HvBody body, FunctionCallInfo fcinfo)
{
	volatile Datum result = (Datum) 0;
	HvCall		call;

	HvBegin(&call, action);
	PG_TRY();
	{
		result = body(&call, fcinfo);
	}
	PG_CATCH();
	{
		ErrorData  *failure;

		HvEndLeaseUse();
		MemoryContextSwitchTo(call.context);
		failure = CopyErrorData();
		FlushErrorState();
		HvRecordFailure(&call, failure->sqlerrcode);
		failure->context = NULL;
		failure->domain = TEXTDOMAIN;
		ThrowErrorData(failure);
	}
	PG_END_TRY();
	return result;
}
