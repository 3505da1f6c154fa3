/*
 * supervisor.c: the background workers that keep rotation going.
 *
 * The launcher is started with the server when the library is preloaded, and again when a standby is promoted:
 * never during recovery, so only ever on the primary. It belongs to no database and waits until the configured one
 * exists; then it has the supervisor started there. The supervisor makes a pass every scan_interval_secs: what a
 * pass does is SQL, vault.supervise(). In between it announces changes (announce.c).
 *
 * On a standby another launcher has a worker run that only ends sessions of former passwords (rolesession.c), until the standby
 * is promoted.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/extension.h"
#include "leasedrole.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "rolesession.h"
#include "runas.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "sessionsettings.h"
#include "supervision.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define RESTART_SECS	5		/* a crashed launcher; a supervisor that ended */
#define ANNOUNCE_MS		20		/* at least, between two notifications of changes, and two looks for passwords of roles */
#define CHANNEL			"hyperion_vault_changes"
#define BATCH			1000	/* rows of each kind that one pass handles; more are done at once in the next */

PGDLLEXPORT void HvLauncherMain(Datum arg);
PGDLLEXPORT void HvSupervisorMain(Datum arg);
PGDLLEXPORT void HvStandbyLauncherMain(Datum arg);
PGDLLEXPORT void HvStandbyMain(Datum arg);

static HvStatement supervise_statement = {
	"SELECT vault.supervise($1, $2)", 2, {INT4OID, BOOLOID}
};
static HvStatement owner_statement = {
	"SELECT vault.owner_fault()", 0
};

static BackgroundWorkerHandle *supervisor = NULL;	/* in the launcher: the one that runs */

/*
 * Handle a reload, if there was one, and signals; true if there was one.
 */
static bool
FollowReload(void)
{
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/*
 * Wait for the latch, or the time. Also handles a reload; true if there was one.
 */
static bool
WaitOnLatch(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	return FollowReload();
}

/* what a worker has said last of one matter */
typedef struct HvSaid
{
	int			level;
	char	   *last;
} HvSaid;

static bool has_session_ends = false;	/* the same of what ends sessions */
static bool has_leases = false; /* the last pass found a schema that has them: an older one may wait for its update */
static HvSaid trouble = {LOG, NULL};	/* why there is no pass */
static HvSaid exposure = {WARNING, NULL};	/* what is wrong with the owner */

/*
 * Log a message unless it was the last one of its matter. The text is copied to memory that lives as long as the
 * process.
 */
static void
LogOnce(HvSaid *said, const char *message)
{
	if (said->last != NULL && message != NULL && strcmp(said->last, message) == 0)
		return;
	if (said->last != NULL)
		pfree(said->last);
	said->last = message == NULL ? NULL : MemoryContextStrdup(TopMemoryContext, message);
	if (message != NULL)
		ereport(said->level, (errmsg("hyperion_vault supervisor: %s", message)));
}

/*
 * Say why there is no pass, NULL after one: in the log once, and to every session.
 */
static void
NoteTrouble(const char *reason)
{
	LogOnce(&trouble, reason);
	HvNoteTrouble(reason);
}

static void
FillWorker(BackgroundWorker *worker, const char *function, const char *type)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, HV_EXTENSION_NAME, BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_name, type, BGW_MAXLEN);
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
}

/*
 * Register the launchers. Called in the postmaster.
 */
void
HvSupervisorInit(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	FillWorker(&worker, "HvLauncherMain", "hyperion_vault launcher");
	worker.bgw_restart_time = RESTART_SECS;
	RegisterBackgroundWorker(&worker);
	FillWorker(&worker, "HvStandbyLauncherMain", "hyperion_vault standby launcher");
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = RESTART_SECS;
	RegisterBackgroundWorker(&worker);
}

/*
 * What is the matter with the configured database, NULL if a worker can connect to it. By a scan of the table, as the
 * autovacuum launcher does it: in a process without a database the index may not be at hand.
 */
static const char *
DatabaseFault(void)
{
	Relation	databases;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	found;
	const char *fault = NULL;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	databases = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(HvDatabase));
	scan = systable_beginscan(databases, InvalidOid, false, NULL, 1, &key);
	found = systable_getnext(scan);
	if (!HeapTupleIsValid(found))
		fault = "does not exist";
	else if (!((Form_pg_database) GETSTRUCT(found))->datallowconn)
		fault = "accepts no connections";
	systable_endscan(scan);
	table_close(databases, AccessShareLock);
	CommitTransactionCommand();
	return fault;
}

/*
 * At the launcher's end: the next one starts a supervisor of its own.
 */
static void
EndSupervisor(int code, Datum arg)
{
	if (supervisor != NULL)
		TerminateBackgroundWorker(supervisor);
}

/*
 * Start a worker of the database, and wait until it ends.
 */
static void
RunWorker(const char *function, const char *type, BgWorkerStartTime start)
{
	BackgroundWorker worker;

	FillWorker(&worker, function, type);
	worker.bgw_start_time = start;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &supervisor))
	{
		NoteTrouble("no background worker slot is free; raise max_worker_processes");
		return;
	}
	LogOnce(&trouble, NULL);
	(void) WaitForBackgroundWorkerShutdown(supervisor);
	pfree(supervisor);
	supervisor = NULL;
}

/*
 * Main function of the launcher.
 */
void
HvLauncherMain(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(EndSupervisor, (Datum) 0);
	HvNoteLaunch();
	for (;;)
	{
		const char *fault = DatabaseFault();

		if (fault == NULL)
			RunWorker("HvSupervisorMain", "hyperion_vault supervisor", BgWorkerStart_RecoveryFinished);
		else
		{
			char	   *message = psprintf("database \"%s\" %s; set hyperion_vault.database", HvDatabase, fault);

			NoteTrouble(message);
			pfree(message);
		}
		(void) WaitOnLatch(RESTART_SECS * 1000L);
	}
}

/*
 * Main function of the launcher of a standby. It ends with the recovery, and the server does not start it again then.
 */
void
HvStandbyLauncherMain(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!RecoveryInProgress())
		proc_exit(0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(EndSupervisor, (Datum) 0);
	while (RecoveryInProgress())
	{
		if (DatabaseFault() == NULL)
			RunWorker("HvStandbyMain", "hyperion_vault standby", BgWorkerStart_ConsistentState);
		if (RecoveryInProgress())
			(void) WaitOnLatch(RESTART_SECS * 1000L);
	}
	proc_exit(0);
}

/*
 * Log what lets another role become the owner of the vault: nothing of PostgreSQL's forbids it later on.
 */
static void
LookAtOwner(void)
{
	HvParams	none = {0};

	HvOwnerLook(&owner_statement, &none);
	LogOnce(&exposure, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
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
	LookAtOwner();
	SPI_finish();
	return more;
}

/*
 * Whether the schema has leases.
 */
static bool
FindLeases(void)
{
	Oid			types[1] = {INT4OID};
	List	   *name = list_make2(makeString(HV_SCHEMA_NAME), makeString("ending_leases"));

	return OidIsValid(LookupFuncName(name, 1, types, true));
}

/*
 * One pass, in a transaction; true when there is more to do at once.
 */
static bool
MakePass(void)
{
	bool		more = false;
	bool		passed;
	bool		found;

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
	has_leases = has_session_ends = false;
	passed = OidIsValid(get_extension_oid(HV_EXTENSION_NAME, true));
	if (!passed)
		NoteTrouble(psprintf("database \"%s\" does not have the extension", HvDatabase));
	else
		more = CallSupervise();
	found = passed && FindLeases();
	has_session_ends = passed && HvHasSessionEnds();
	PopActiveSnapshot();
	CommitTransactionCommand();
	has_leases = found;
	if (passed)
		NoteTrouble(NULL);
	/* A worker has no end of a command that would do it, and autovacuum goes by this. */
	(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

/*
 * Tell those who follow that there are changes: one notification for all. It is lost with the server, as every
 * notification is, so its commit need not wait for the disk or a standby while it holds up those of others.
 */
static bool
AnnounceChanges(void)
{
	HvTakeChanges();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	Async_Notify(CHANNEL, NULL);
	CommitTransactionCommand();
	return false;
}

/*
 * Some work whose error is logged once and does not end the worker; what it returns, false after an error.
 */
static bool
RunGuarded(bool (*work) (void), MemoryContext context)
{
	volatile bool more = false;

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		more = work();
	}
	PG_CATCH();
	{
		ErrorData  *failure;

		MemoryContextSwitchTo(context);
		failure = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(failure->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();		/* told to end */
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		NoteTrouble(failure->message);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	MemoryContextReset(context);
	return more;
}

/*
 * End the leases that end.
 */
static void
EndLeases(MemoryContext context)
{
	while (has_leases && RunGuarded(HvEndLeases, context))
		(void) FollowReload();
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
 * Note by when the passwords that roles were given had been committed, unless that was done a moment before. Returns in how many
 * milliseconds it is to be done.
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
	if (has_session_ends)
		(void) RunGuarded(HvSettleRoles, context);
	INSTR_TIME_SET_CURRENT(settled);
	return HvScanIntervalSecs * 1000.0;
}

/*
 * Wait until the next pass is due, and announce changes meanwhile. By a clock that cannot be set.
 */
static void
WaitForNextPass(MemoryContext context)
{
	static instr_time announced;	/* when something was, last */
	instr_time	begun;

	INSTR_TIME_SET_CURRENT(begun);
	for (;;)
	{
		double		left = HvScanIntervalSecs * 1000.0 - MillisecondsSince(begun);

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
				(void) RunGuarded(AnnounceChanges, context);
				INSTR_TIME_SET_CURRENT(announced);
				continue;
			}
			left = Min(left, pause);
		}
		if (WaitOnLatch((long) left + 1))
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

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(HvDatabase, NULL, 0);
	HvNoteSupervisor();
	context = AllocSetContextCreate(TopMemoryContext, "hyperion_vault supervisor", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		bool		more = RunGuarded(MakePass, context);

		EndLeases(context);
		if (has_session_ends)
			(void) RunGuarded(HvEndSessions, context);
		if (more)
			(void) FollowReload();
		else
			WaitForNextPass(context);
	}
}

/*
 * One pass on a standby. Without the extension, or with an older one, there is nothing to do.
 */
static bool
MakeStandbyPass(void)
{
	bool		found;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	found = OidIsValid(get_extension_oid(HV_EXTENSION_NAME, true)) && HvHasSessionEnds();
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (found)
		(void) HvEndSessions();
	NoteTrouble(NULL);
	return false;
}

/*
 * Main function of the worker of a standby, until that is promoted. It writes nothing.
 */
void
HvStandbyMain(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(HvDatabase, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "hyperion_vault standby", ALLOCSET_DEFAULT_SIZES);
	while (RecoveryInProgress())
	{
		(void) RunGuarded(MakeStandbyPass, context);
		(void) WaitOnLatch(HvScanIntervalSecs * 1000L);
	}
	proc_exit(0);
}
