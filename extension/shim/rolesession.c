/*
 * rolesession.c: shows the sessions of roles whose passwords are secrets, and ends those of former passwords.
 *
 * The functions of the schema decide which sessions those are (vault.bound_sessions()). They run as the owner, to whom
 * PostgreSQL shows little of other roles' sessions, and who can end none. A worker of the server ends them: on the
 * primary the supervisor, on a standby one that does nothing else (standbyworker.c). A session is told to end only if
 * it is the one that was decided about: its process number may be another's by then.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "rolepassword.h"
#include "rolesession.h"
#include "runas.h"
#include "supervision.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "worker.h"

/* Run as a superuser, so only of pg_catalog. */
#define BACKENDS \
	" FROM pg_catalog.pg_stat_get_activity(NULL) a WHERE a.usesysid IS NOT NULL" \
	" AND a.backend_type OPERATOR(pg_catalog.=) ANY ('{client backend,walsender}'::pg_catalog.text[])"

#define SHOW_BACKENDS \
	"SELECT a.pid, a.usesysid, a.datid, a.application_name, a.client_addr, a.backend_start, a.state" BACKENDS

#define END_BACKEND \
	"SELECT pg_catalog.pg_terminate_backend(a.pid)" BACKENDS " AND a.pid OPERATOR(pg_catalog.=) $1" \
	" AND a.usesysid OPERATOR(pg_catalog.=) $2 AND a.backend_start OPERATOR(pg_catalog.=) $3"

static HvStatement record_statement = {
	"SELECT s.pid, s.role, s.started_at FROM vault.record_session_ends() s", 0
};
static HvStatement look_statement = {
	"SELECT s.pid, s.role, s.started_at FROM vault.sessions_to_end() s", 0
};
static HvStatement settle_statement = {
	"SELECT vault.settle_roles()", 0
};

/* a session that is to end */
typedef struct HvDoomed
{
	Datum		id[3];			/* pid, role, backend_start, all by value */
} HvDoomed;

static bool given = false;		/* a role was given a password, by the present transaction */

static void
ReadBackends(void *arg)
{
	ReturnSetInfo *result = arg;

	if (SPI_execute(SHOW_BACKENDS, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the sessions of the server could not be read");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
}

PG_FUNCTION_INFO_V1(hv_backends);

/*
 * Return the sessions of clients, without their queries. Only functions of the vault may call it. Other callers have
 * pg_stat_activity.
 */
Datum
hv_backends(PG_FUNCTION_ARGS)
{
	HvRequireOwner();
	InitMaterializedSRF(fcinfo, 0);
	pgstat_clear_snapshot();
	SPI_connect();
	HvRunAs(HV_AS_VAULT, ReadBackends, fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}

static void
AtTransactionEnd(XactEvent event, void *arg)
{
	if (!given)
		return;
	if (event == XACT_EVENT_COMMIT)
		HvNoteRoleChange();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		given = false;
}

/*
 * By how many seconds a pass of the supervisor prolongs a login, as vault.prolonged_by().
 */
int64
HvProlongedBySecs(void)
{
	return 10 + 4 * (int64) HvScanIntervalSecs;
}

/*
 * Have the supervisor note the time once this transaction has been committed, for the role that it gives a password.
 */
void
HvSettleAfterCommit(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(AtTransactionEnd, NULL);
		registered = true;
	}
	given = true;
}

/*
 * Note by when the passwords that roles were given had been committed. For the supervisor, outside of a transaction.
 * May ereport. A pass notes again what a crash has lost. So the commit need not wait, and the next rotations do not wait for it:
 * it has the rows that they change.
 */
bool
HvSettleRoles(void)
{
	HvParams	none = {0};

	HvBeginWork();
	HvCommitAsynchronously();
	if (HvSchemaHas("settle_roles", 0, NULL) && !HvSettleDirectly())
		HvOwnerRun(&settle_statement, &none);
	HvCommitWork();
	return false;
}

/*
 * The sessions that are to end, palloc'd in a context; returns how many. On the primary that is recorded.
 */
static int
FindDoomed(HvDoomed **doomed, MemoryContext context, bool primary)
{
	HvParams	none = {0};
	bool		present;
	int			n;

	HvBeginWork();
	present = HvSchemaHas("sessions_to_end", 0, NULL);
	if (present && primary)
		HvOwnerRun(&record_statement, &none);
	else if (present)
		HvOwnerLook(&look_statement, &none);
	n = present ? (int) SPI_processed : 0;
	*doomed = MemoryContextAlloc(context, Max(n, 1) * sizeof(HvDoomed));
	for (int i = 0; i < n; i++)
		for (int column = 0; column < 3; column++)
		{
			bool		isnull;

			(*doomed)[i].id[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1, &isnull);
		}
	HvCommitWork();
	return n;
}

/*
 * Tell sessions to end; returns how many there still were.
 */
static int
EndDoomed(HvDoomed *doomed, int n)
{
	Oid			types[3] = {INT4OID, OIDOID, TIMESTAMPTZOID};
	int			ended = 0;

	HvBeginWork();
	for (int i = 0; i < n; i++)
	{
		pgstat_clear_snapshot();
		if (SPI_execute_with_args(END_BACKEND, 3, types, doomed[i].id, NULL, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "a session could not be ended");
		ended += (int) SPI_processed;
	}
	HvCommitWork();
	return ended;
}

/*
 * End the sessions of former passwords whose grace is over, on this server, and on a standby those of leases that end.
 * What is not over in time is told so again in the next pass. For a worker, outside of a transaction. Returns false:
 * there is never more to do at once. May ereport.
 */
bool
HvEndSessions(void)
{
	bool		primary = !RecoveryInProgress();
	MemoryContext context = CurrentMemoryContext;
	HvDoomed   *doomed;
	int			n = FindDoomed(&doomed, context, primary);

	if (n > 0)
	{
		n = EndDoomed(doomed, n);
		/* A standby can write no record of the audit. */
		if (!primary)
			ereport(LOG, (errmsg("hyperion_vault: %d sessions of former passwords of roles, or of leases, were told to end on this standby", n)));
	}
	(void) pgstat_report_stat(true);
	return false;
}
