/*
 * supervision.c: what the supervisor and the sessions of the server tell each other, in shared memory.
 *
 * A supervisor that makes no pass cannot write down why: the reason may be that nothing can be written. So the workers
 * keep it here. Sessions leave word here that they have committed a change (announce.c). The memory exists only when the
 * library is preloaded.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "supervision.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define REASON_LEN	256

typedef struct HvSupervision
{
	slock_t		mutex;
	TimestampTz launched_at;	/* 0 = no launcher has been started since the server was */
	TimestampTz failing_since;	/* 0 = the last pass went well, or there was none yet */
	char		reason[REASON_LEN];
	Oid			database;		/* of the supervisor that ran last; InvalidOid = none has */
	Latch	   *latch;			/* its latch; NULL while none runs */
	pg_atomic_uint32 changed;	/* 1 = a change was committed there since the supervisor looked last */
	pg_atomic_uint32 leases;	/* 1 = leases were revoked there since the supervisor looked last */
	pg_atomic_uint32 roles;		/* 1 = roles were given passwords there since the supervisor looked last */
} HvSupervision;

static HvSupervision *supervision = NULL;	/* NULL when the library is not preloaded */
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
OnShmemRequest(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(HvSupervision)));
}

static void
OnShmemStartup(void)
{
	bool		found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	supervision = ShmemInitStruct("hyperion_vault supervision", sizeof(HvSupervision), &found);
	if (!found)
	{
		memset(supervision, 0, sizeof(*supervision));
		SpinLockInit(&supervision->mutex);
		pg_atomic_init_u32(&supervision->changed, 0);
		pg_atomic_init_u32(&supervision->leases, 0);
		pg_atomic_init_u32(&supervision->roles, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Ask for the shared memory. Called in the postmaster.
 */
void
HvSupervisionInit(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request = shmem_request_hook;
	shmem_request_hook = OnShmemRequest;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = OnShmemStartup;
}

/*
 * Note that the launcher has started.
 */
void
HvNoteLaunch(void)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&supervision->mutex);
	supervision->launched_at = now;
	supervision->failing_since = 0;
	SpinLockRelease(&supervision->mutex);
}

/*
 * Note why no pass is made, NULL after one.
 */
void
HvNoteTrouble(const char *reason)
{
	TimestampTz now = GetCurrentTimestamp();
	char		kept[REASON_LEN] = "";

	if (reason != NULL)
	{
		int			len = pg_mbcliplen(reason, (int) strlen(reason), REASON_LEN - 1);

		memcpy(kept, reason, len);
	}
	SpinLockAcquire(&supervision->mutex);
	if (reason == NULL)
		supervision->failing_since = 0;
	else if (supervision->failing_since == 0)
		supervision->failing_since = now;
	memcpy(supervision->reason, kept, REASON_LEN);
	SpinLockRelease(&supervision->mutex);
}

/*
 * The latch belongs to the next process of this slot from now on.
 */
static void
LeaveSupervision(int code, Datum arg)
{
	SpinLockAcquire(&supervision->mutex);
	supervision->latch = NULL;
	SpinLockRelease(&supervision->mutex);
}

/*
 * Note that this process is the supervisor of its database, until it ends. Changes from before the first supervisor of a
 * server were not noted, so it takes it that there are some: to announce nothing does no harm.
 */
void
HvNoteSupervisor(void)
{
	SpinLockAcquire(&supervision->mutex);
	supervision->database = MyDatabaseId;
	supervision->latch = MyLatch;
	SpinLockRelease(&supervision->mutex);
	pg_atomic_write_u32(&supervision->changed, 1);
	before_shmem_exit(LeaveSupervision, (Datum) 0);
}

/*
 * Set a word for the supervisor of this database, and wake it if the word is new. Never ereports.
 */
static void
WakeSupervisor(pg_atomic_uint32 *word)
{
	Latch	   *latch;

	if (supervision->database != MyDatabaseId || pg_atomic_exchange_u32(word, 1) != 0)
		return;
	SpinLockAcquire(&supervision->mutex);
	latch = supervision->latch;
	SpinLockRelease(&supervision->mutex);
	if (latch != NULL)			/* of a slot for processes, which outlives the process; to wake its next one does no harm */
		SetLatch(latch);
}

/*
 * Note that a change has been committed in this database, and wake the supervisor if it does not know yet. No process does
 * where the library is not preloaded, and in another database: followers look by themselves. Never ereports.
 */
void
HvNoteChange(void)
{
	if (supervision != NULL)
		WakeSupervisor(&supervision->changed);
}

/*
 * The same for leases that were revoked. A pass finds them in any case.
 */
void
HvNoteLeaseEnd(void)
{
	if (supervision != NULL)
		WakeSupervisor(&supervision->leases);
}

/*
 * The same for roles that were given passwords.
 */
void
HvNoteRoleChange(void)
{
	if (supervision != NULL)
		WakeSupervisor(&supervision->roles);
}

/*
 * Whether a change has been committed that was not taken yet.
 */
bool
HvChanged(void)
{
	return pg_atomic_read_u32(&supervision->changed) != 0;
}

/*
 * Take the changes so far: what is committed from now on is noted again.
 */
void
HvTakeChanges(void)
{
	(void) pg_atomic_exchange_u32(&supervision->changed, 0);
}

/*
 * Whether leases have been revoked since this was asked last.
 */
bool
HvTakeLeaseEnds(void)
{
	return pg_atomic_read_u32(&supervision->leases) != 0 && pg_atomic_exchange_u32(&supervision->leases, 0) != 0;
}

/*
 * Whether roles have been given passwords that were not taken yet.
 */
bool
HvRolesChanged(void)
{
	return pg_atomic_read_u32(&supervision->roles) != 0;
}

/*
 * Take the passwords so far.
 */
void
HvTakeRoleChanges(void)
{
	(void) pg_atomic_exchange_u32(&supervision->roles, 0);
}

PG_FUNCTION_INFO_V1(hv_supervisor_state);

/*
 * One row: preloaded, database, enabled, scan_interval_secs, launched_at, failing_since, reason.
 */
Datum
hv_supervisor_state(PG_FUNCTION_ARGS)
{
	TupleDesc	row;
	Datum		values[7] = {0};
	bool		nulls[7] = {false, false, false, false, true, true, true};
	HvSupervision now;

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result of hv_supervisor_state is not a row");
	values[0] = BoolGetDatum(supervision != NULL);
	values[1] = CStringGetTextDatum(HvDatabase);
	values[2] = BoolGetDatum(HvRotationEnabled);
	values[3] = Int32GetDatum(HvScanIntervalSecs);
	if (supervision != NULL)
	{
		SpinLockAcquire(&supervision->mutex);
		memcpy(&now, supervision, sizeof(now));
		SpinLockRelease(&supervision->mutex);
		values[4] = TimestampTzGetDatum(now.launched_at);
		nulls[4] = now.launched_at == 0;
		values[5] = TimestampTzGetDatum(now.failing_since);
		nulls[5] = now.failing_since == 0;
		nulls[6] = nulls[5];
		if (!nulls[6])
			values[6] = CStringGetTextDatum(now.reason);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row), values, nulls)));
}
