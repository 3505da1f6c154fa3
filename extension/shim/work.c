/*
 * work.c: the transactions of a background worker, whatever the settings of its database.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "supervision.h"
#include "utils/snapmgr.h"

/*
 * Begin a transaction of its own, with a snapshot and SPI. May ereport.
 */
void
HvBeginWork(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
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
