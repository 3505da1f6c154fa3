/*
 * standbyworker.c: the background worker of a standby, which only ends sessions of former passwords (rolesession.c).
 */
#include "hyperion_vault.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "rolesession.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "worker.h"

PGDLLEXPORT void HvStandbyMain(Datum arg);

/*
 * One pass on a standby.
 */
static bool
MakeStandbyPass(void)
{
	(void) HvEndSessions();
	HvLogTrouble(NULL);
	return false;
}

/*
 * Main function of the worker of a standby, until that is promoted. It writes nothing.
 */
void
HvStandbyMain(Datum arg)
{
	MemoryContext context;

	HvStartWorker();
	BackgroundWorkerInitializeConnection(HvDatabase, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "hyperion_vault standby", ALLOCSET_DEFAULT_SIZES);
	while (RecoveryInProgress())
	{
		(void) HvRunGuarded(MakeStandbyPass, context);
		(void) HvWaitOnLatch(HvScanIntervalSecs * 1000L);
	}
	proc_exit(0);
}
