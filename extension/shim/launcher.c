/*
 * launcher.c: the background workers that start others.
 *
 * The launcher is started with the server when the library is preloaded, and again when a standby is promoted: never
 * during recovery, so only ever on the primary. It belongs to no database and waits until the configured one exists.
 * Then it has the supervisor started there (supervisor.c).
 *
 * On a standby another launcher starts the worker of a standby (standbyworker.c), until the standby is promoted.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "supervision.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "worker.h"

PGDLLEXPORT void HvLauncherMain(Datum arg);
PGDLLEXPORT void HvStandbyLauncherMain(Datum arg);

static BackgroundWorkerHandle *started = NULL;	/* the worker that runs */

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
HvLauncherInit(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	FillWorker(&worker, "HvLauncherMain", "hyperion_vault launcher");
	worker.bgw_restart_time = HV_RESTART_SECS;
	RegisterBackgroundWorker(&worker);
	FillWorker(&worker, "HvStandbyLauncherMain", "hyperion_vault standby launcher");
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = HV_RESTART_SECS;
	RegisterBackgroundWorker(&worker);
}

/*
 * Return why no worker can connect to the configured database, NULL if one can. By a scan of the table, as the
 * autovacuum launcher does it: a process without a database may not have the index.
 */
static const char *
FindDatabaseFault(void)
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
 * End the worker with its launcher, because the next launcher starts a worker itself.
 */
static void
EndStarted(int code, Datum arg)
{
	if (started != NULL)
		TerminateBackgroundWorker(started);
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
	if (!RegisterDynamicBackgroundWorker(&worker, &started))
	{
		HvLogTrouble("no background worker slot is free; raise max_worker_processes");
		return;
	}
	HvForgetTrouble();
	(void) WaitForBackgroundWorkerShutdown(started);
	pfree(started);
	started = NULL;
}

/*
 * Main function of the launcher.
 */
void
HvLauncherMain(Datum arg)
{
	HvStartWorker();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(EndStarted, (Datum) 0);
	HvNoteLaunch();
	for (;;)
	{
		const char *fault = FindDatabaseFault();

		if (fault == NULL)
			RunWorker("HvSupervisorMain", "hyperion_vault supervisor", BgWorkerStart_RecoveryFinished);
		else
		{
			char	   *message = psprintf("database \"%s\" %s; set hyperion_vault.database", HvDatabase, fault);

			HvLogTrouble(message);
			pfree(message);
		}
		(void) HvWaitOnLatch(HV_RESTART_SECS * 1000L);
	}
}

/*
 * Main function of the launcher of a standby. It ends with the recovery, and the server does not start it again then.
 */
void
HvStandbyLauncherMain(Datum arg)
{
	HvStartWorker();
	if (!RecoveryInProgress())
		proc_exit(0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(EndStarted, (Datum) 0);
	while (RecoveryInProgress())
	{
		if (FindDatabaseFault() == NULL)
			RunWorker("HvStandbyMain", "hyperion_vault standby", BgWorkerStart_ConsistentState);
		if (RecoveryInProgress())
			(void) HvWaitOnLatch(HV_RESTART_SECS * 1000L);
	}
	proc_exit(0);
}
