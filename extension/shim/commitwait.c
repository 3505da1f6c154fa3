/*
 * commitwait.c: whether this server acknowledges commits.
 *
 * A primary whose synchronous standbys are away answers every query, and lets every commit wait. Its statistics views say
 * so only to roles with pg_read_all_stats, which neither the owner of the schema nor the API's role has. Shared memory
 * has the same facts.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index pgstat_fetch_stat_local_beentry
#endif

/*
 * The number of standbys that a commit of this session waits for, 0 if it waits for none; in *connected how many of them
 * stream.
 */
static int
CountSynchronousStandbys(int *connected)
{
	SyncRepStandbyData *standbys;

	*connected = 0;
	if (RecoveryInProgress() || !SyncRepRequested() || SyncRepConfig == NULL)
		return 0;
	*connected = Min(SyncRepGetCandidateStandbys(&standbys), SyncRepConfig->num_sync);
	return SyncRepConfig->num_sync;
}

/*
 * The number of backends whose commit waits for standbys; in *since when the oldest of their statements began.
 */
static int
CountWaitingCommits(TimestampTz *since)
{
	int			waiting = 0;
	int			backends = pgstat_fetch_stat_numbackends();

	*since = 0;
	for (int i = 1; i <= backends; i++)
	{
		LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(i);
		PGPROC	   *proc = local == NULL ? NULL : BackendPidGetProc(local->backendStatus.st_procpid);
		TimestampTz entered_at;

		if (proc == NULL || ((volatile PGPROC *) proc)->wait_event_info != WAIT_EVENT_SYNC_REP)
			continue;
		entered_at = local->backendStatus.st_state_start_timestamp;
		if (waiting++ == 0 || entered_at < *since)
			*since = entered_at;
	}
	return waiting;
}

PG_FUNCTION_INFO_V1(hv_commit_state);

/*
 * One row: standbys_wanted, standbys_connected, commits_waiting, waiting_since.
 */
Datum
hv_commit_state(PG_FUNCTION_ARGS)
{
	TupleDesc	row;
	Datum		values[4];
	bool		nulls[4] = {0};
	int			connected;
	TimestampTz since;

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result of hv_commit_state is not a row");
	values[0] = Int32GetDatum(CountSynchronousStandbys(&connected));
	values[1] = Int32GetDatum(connected);
	values[2] = Int32GetDatum(CountWaitingCommits(&since));
	values[3] = TimestampTzGetDatum(since);
	nulls[3] = values[2] == Int32GetDatum(0);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row), values, nulls)));
}
