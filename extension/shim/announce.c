/*
 * announce.c: tells those who follow changes that there is one, after its commit.
 *
 * NOTIFY takes a lock of the whole cluster before the commit's WAL is flushed and keeps it until the commit has ended: all
 * changes would commit one after the other, and with a synchronous standby one for each round trip. So a change only
 * leaves word in shared memory once it is committed, and the supervisor sends one NOTIFY for all that it finds.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "note.h"
#include "position.h"
#include "supervision.h"

static bool changed = false;	/* by the present transaction */

static void
AtTransactionEnd(XactEvent event, void *arg)
{
	if (!changed)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			/* Another session commits it, and its audit ids are counted in this one. */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has changed a secret")));
			break;
		case XACT_EVENT_COMMIT:
			changed = false;
			HvNoteChange();
			break;
		case XACT_EVENT_ABORT:
			changed = false;
			break;
		default:
			break;
	}
}

/*
 * Have those who follow told when this transaction has been committed. Those of a subtransaction that is rolled back are
 * told of nothing, which does no harm: they look.
 */
void
HvAnnounceChange(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(AtTransactionEnd, NULL);
		registered = true;
	}
	changed = true;
	HvReportPosition();
}

PG_FUNCTION_INFO_V1(hv_announce_change);

Datum
hv_announce_change(PG_FUNCTION_ARGS)
{
	HvAnnounceChange();
	PG_RETURN_VOID();
}
