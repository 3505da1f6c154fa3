/*
 * worker.c: signals, waits, transactions and errors, which all background workers of the vault handle alike.
 */
#include "hyperion_vault.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "supervision.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker.h"

static HvLastLogged trouble = {LOG, NULL};	/* why there is no pass */

/*
 * Handle signals from now on. The first thing that a worker does.
 */
void
HvStartWorker(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Handle a reload, if there was one, and signals; true if there was one.
 */
bool
HvFollowReload(void)
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
bool
HvWaitOnLatch(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	return HvFollowReload();
}

/*
 * Log a message unless it was the last one of its matter, NULL if there is nothing to log now. The text is copied to
 * memory that lives as long as the process.
 */
void
HvLogOnce(HvLastLogged *last, const char *message)
{
	if (last->message != NULL && message != NULL && strcmp(last->message, message) == 0)
		return;
	if (last->message != NULL)
		pfree(last->message);
	last->message = message == NULL ? NULL : MemoryContextStrdup(TopMemoryContext, message);
	if (message != NULL)
		ereport(last->level, (errmsg("hyperion_vault supervisor: %s", message)));
}

/*
 * Report why there is no pass, NULL after one: in the log once, and to every session.
 */
void
HvLogTrouble(const char *reason)
{
	HvLogOnce(&trouble, reason);
	HvNoteTrouble(reason);
}

/*
 * Have the same trouble logged again if it returns. Sessions hear that it is over when a pass was made.
 */
void
HvForgetTrouble(void)
{
	HvLogOnce(&trouble, NULL);
}

/*
 * Do some work whose error is logged once and does not end the worker. Returns what the work returns, false after an error.
 */
bool
HvRunGuarded(bool (*work) (void), MemoryContext context)
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
			PG_RE_THROW();		/* the worker was told to end */
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		HvLogTrouble(failure->message);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	MemoryContextReset(context);
	return more;
}

/*
 * Begin a transaction with a snapshot and SPI, whatever the settings of the database. May ereport.
 */
void
HvBeginWork(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED; /* it skips what is locked, and sees it in its next statement */
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/*
 * Commit what HvBeginWork began. May ereport.
 */
void
HvCommitWork(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * Have the commit of the present transaction wait neither for the disk nor for a standby.
 */
void
HvCommitAsynchronously(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Whether the extension is there, by a scan. From PostgreSQL 18 on get_extension_oid() asks a cache. That hears of CREATE
 * EXTENSION only after its commit has woken the supervisor, which would then wait for the next pass. In a transaction.
 */
bool
HvHasExtension(void)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(HV_EXTENSION_NAME));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return found;
}

/*
 * Whether the extension is there with a function of the vault: an older schema may wait for its update, which may come at
 * any time. In a transaction.
 */
bool
HvSchemaHas(const char *function, int nargs, const Oid *types)
{
	List	   *name = list_make2(makeString(HV_SCHEMA_NAME), makeString(pstrdup(function)));

	return HvHasExtension() && OidIsValid(LookupFuncName(name, nargs, types, true));
}
