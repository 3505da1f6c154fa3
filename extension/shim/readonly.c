/*
 * readonly.c: refuses changes on a standby and in a read-only transaction, before anything is asked for them.
 *
 * PostgreSQL would refuse them too, but late: when the first row is written, after a key was made for it, and in
 * words about an INSERT that the caller has not written.
 */
#include "hyperion_vault.h"

#include <netdb.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "arg.h"
#include "call.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "readonly.h"
#include "replication/walreceiver.h"
#include "storage/spin.h"
#include "text.h"
#include "utils/builtins.h"

/*
 * Where a standby gets its WAL from, as the connection itself says: primary_conninfo may hold a password. Palloc'd;
 * NULL while it has never been connected.
 */
static char *
UpstreamAddress(bool *connected)
{
	char		host[NI_MAXHOST];
	int			port;

	SpinLockAcquire(&WalRcv->mutex);
	strlcpy(host, (const char *) WalRcv->sender_host, sizeof(host));
	port = WalRcv->sender_port;
	*connected = WalRcv->pid != 0 && WalRcv->ready_to_display;
	SpinLockRelease(&WalRcv->mutex);
	if (host[0] == '\0')
		return NULL;
	return psprintf(host[0] != '/' && strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host, port);
}

static void
RefuseOnStandby(void)
{
	bool		connected;
	char	   *upstream = UpstreamAddress(&connected);

	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("this node is a standby: it is read-only"),
			 upstream == NULL ? errhint("Write to the primary. Where it is is not known here.") :
			 connected ? errhint("Write to the primary. This node replicates from %s.", upstream) :
			 errhint("Write to the primary. This node replicated from %s and is not connected to it now.", upstream)));
}

/*
 * ereport if the present transaction can change nothing.
 */
void
HvRequireWritable(void)
{
	if (!XactReadOnly)
		return;
	if (RecoveryInProgress())
		RefuseOnStandby();
	if (TransactionStartedDuringRecovery())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("this transaction began on a standby: it is read-only"),
				 errhint("The node has become the primary. End the transaction and try again.")));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("this transaction is read-only"),
			 errhint("Start it READ WRITE. If it was not started READ ONLY, check default_transaction_read_only.")));
}

PG_FUNCTION_INFO_V1(hv_require_writable);

/*
 * The same for functions in SQL whose caller audits what becomes of them.
 */
Datum
hv_require_writable(PG_FUNCTION_ARGS)
{
	HvRequireWritable();
	PG_RETURN_VOID();
}

/*
 * Arguments 0 and 1 are the action and what it is about. Functions in SQL run as vault_owner, who is not the one who
 * asks: as in vault.local_origin(), that is the session's role.
 */
static void
DescribeChange(HvCall *call, FunctionCallInfo fcinfo)
{
	char	   *target = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	HvBytes		shown = HvShown(target);
	int			len = pg_encoding_mbcliplen(PG_UTF8, (const char *) shown.data, (int) shown.len, HV_MAX_NAME_LEN);

	RequireArg(fcinfo, 0, "action");
	call->action = text_to_cstring(PG_GETARG_TEXT_PP(0));
	call->name = (HvBytes) {shown.data, len};
	call->role = GetSessionUserId();
	call->origin.role = call->origin.session_role;
}

static Datum
AdmitChange(HvCall *call, FunctionCallInfo fcinfo)
{
	DescribeChange(call, fcinfo);
	HvRequireWritable();
	PG_RETURN_VOID();
}

static Datum
RecordLook(HvCall *call, FunctionCallInfo fcinfo)
{
	DescribeChange(call, fcinfo);
	HvRecord(call, "ok", "");
	PG_RETURN_VOID();
}

HV_FUNCTION(hv_admit_change, "grant", AdmitChange)
HV_FUNCTION(hv_record_look, "audit", RecordLook)

PG_FUNCTION_INFO_V1(hv_record_failure);

/*
 * Arguments 0 and 1 as above, 2 is the SQLSTATE. For the handler of a function in SQL, which raises the error again.
 */
Datum
hv_record_failure(PG_FUNCTION_ARGS)
{
	HvCall		call;
	char	   *state;

	RequireArg(fcinfo, 0, "action");
	RequireArg(fcinfo, 2, "state");
	HvBegin(&call, "");
	DescribeChange(&call, fcinfo);
	state = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (strlen(state) != 5)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("state must be an SQLSTATE")));
	HvRecordFailure(&call, MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]));
	PG_RETURN_VOID();
}
