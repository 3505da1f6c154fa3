/*
 * supervisor.c: the background worker that keeps rotation going.
 *
 * The launcher starts it in the configured database of a primary (launcher.c). It makes a pass every scan_interval_secs:
 * what a pass does is SQL, vault.supervise(). In between it announces changes (announce.c).
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "leasedrole.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "rolesession.h"
#include "runas.h"
#include "sessionsettings.h"
#include "storage/ipc.h"
#include "supervision.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker.h"

#define ANNOUNCE_MS		20		/* at least, between two notifications of changes, and two checks for passwords of roles */
#define CHANNEL			"hyperion_vault_changes"
#define BATCH			1000	/* rows of each kind that one pass handles; more are done at once in the next */

PGDLLEXPORT void HvSupervisorMain(Datum arg);

static HvStatement supervise_statement = {
	"SELECT vault.supervise($1, $2)", 2, {INT4OID, BOOLOID}
};
static HvStatement owner_statement = {
	"SELECT vault.owner_fault()", 0
};

static bool has_no_extension = false;	/* as the last pass found */

static HvLastLogged exposure = {WARNING, NULL};	/* what is wrong with the owner */

/*
 * Log what lets another role become the owner of the vault: nothing of PostgreSQL's forbids it later on.
 */
static void
CheckOwner(void)
{
	HvParams	none = {0};

	HvOwnerLook(&owner_statement, &none);
	HvLogOnce(&exposure, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/*
 * vault.supervise(), between the start and the end of a transaction; true when there is more to do at once.
 */
static bool
CallSupervise(void)
{
	HvParams	params = {0};
	bool		more;
	bool		isnull;

	pgstat_report_activity(STATE_RUNNING, "vault.supervise()");
	SPI_connect();
	HvAdd(&params, Int32GetDatum(BATCH));
	HvAdd(&params, BoolGetDatum(HvRotationEnabled));
	HvOwnerRun(&supervise_statement, &params);
	more = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) >= BATCH;
	CheckOwner();
	SPI_finish();
	return more;
}

/*
 * One pass, in a transaction; true when there is more to do at once.
 */
static bool
MakePass(void)
{
	bool		more = false;
	bool		passed;

	SetCurrentStatementStartTimestamp();
	if (HvSessionSettingsChanged())
	{
		/* The launcher starts another, which has the new ones. A session that began read-only would stay so. */
		ereport(LOG, (errmsg("hyperion_vault supervisor: the settings of its database or role have changed, restarting")));
		proc_exit(0);
	}
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED; /* whatever the database's default: a pass skips what is locked, and sees it then */
	PushActiveSnapshot(GetTransactionSnapshot());
	has_no_extension = false;
	passed = HvHasExtension();
	if (!passed)
		HvLogTrouble(psprintf("database \"%s\" does not have the extension", HvDatabase));
	else
		more = CallSupervise();
	PopActiveSnapshot();
	CommitTransactionCommand();
	has_no_extension = !passed;
	if (passed)
		HvLogTrouble(NULL);
	/* A worker has no end of a command that would do it, and autovacuum goes by this. */
	(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

/*
 * Tell those who follow that there are changes: one notification for all. It is lost with the server, as every
 * notification is, so its commit need not wait for the disk or a standby while it holds up those of others. PostgreSQL waits for
 * neither anyway, unless the transaction has written to the log before its commit, as when it has pruned the page of a catalog.
 */
static bool
AnnounceChanges(void)
{
	HvTakeChanges();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	HvCommitAsynchronously();
	Async_Notify(CHANNEL, NULL);
	CommitTransactionCommand();
	return false;
}

/*
 * End the leases that end.
 */
static void
EndLeases(MemoryContext context)
{
	while (HvRunGuarded(HvEndLeases, context))
		(void) HvFollowReload();
}

static double
MillisecondsSince(instr_time then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, then);
	return INSTR_TIME_GET_MILLISEC(now);
}

/*
 * Note by when the passwords that roles were given had been committed, unless that was done a moment before. Returns in
 * how many milliseconds it is to be done.
 */
static double
SettleRoles(MemoryContext context)
{
	static instr_time settled;
	double		pause;

	if (!HvRolesChanged())
		return HvScanIntervalSecs * 1000.0;
	pause = ANNOUNCE_MS - MillisecondsSince(settled);
	if (pause > 0)
		return pause;
	HvTakeRoleChanges();
	(void) HvRunGuarded(HvSettleRoles, context);
	INSTR_TIME_SET_CURRENT(settled);
	return HvScanIntervalSecs * 1000.0;
}

/*
 * Wait until the next pass is due, and announce changes meanwhile. By a clock that cannot be set. Where the last pass
 * found no extension, a change says that there is one, and the next pass is due at once.
 */
static void
WaitForNextPass(MemoryContext context)
{
	static instr_time announced;	/* when something was, last */
	instr_time	started;

	INSTR_TIME_SET_CURRENT(started);
	for (;;)
	{
		double		left = HvScanIntervalSecs * 1000.0 - MillisecondsSince(started);

		if (left <= 0)
			return;
		if (HvTakeLeaseEnds())
			EndLeases(context);
		left = Min(left, SettleRoles(context));
		if (HvChanged())
		{
			double		pause = ANNOUNCE_MS - MillisecondsSince(announced);

			if (pause <= 0)
			{
				(void) HvRunGuarded(AnnounceChanges, context);
				INSTR_TIME_SET_CURRENT(announced);
				if (has_no_extension)
					return;
				continue;
			}
			left = Min(left, pause);
		}
		if (HvWaitOnLatch((long) left + 1))
			return;
	}
}

/*
 * Main function of the supervisor.
 */
void
HvSupervisorMain(Datum arg)
{
	MemoryContext context;

	HvStartWorker();
	BackgroundWorkerInitializeConnection(HvDatabase, NULL, 0);
	HvNoteSupervisor();
	context = AllocSetContextCreate(TopMemoryContext, "hyperion_vault supervisor", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		bool		more = HvRunGuarded(MakePass, context);

		EndLeases(context);
		(void) HvRunGuarded(HvEndSessions, context);
		if (more)
			(void) HvFollowReload();
		else
			WaitForNextPass(context);
	}
}
