/*
 * leaseend.c: the supervisor's work on leases that end.
 *
 * Three steps. First their roles can log in no longer, which is committed. Then their sessions are ended. Then each role is
 * dropped together with the row of its lease, in one transaction, so a lease ends once, wherever the server crashes. What fails
 * for one lease is noted in its row and stops no other.
 *
 * The rows are the owner's. What is done to roles the supervisor does itself, for it is a superuser, by the server's own
 * functions.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/user.h"
#include "leasedrole.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "runas.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "supervision.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"
#include "worker.h"

#define BATCH			100		/* leases: each takes some locks until the commit */
#define SESSION_WAIT_MS	2000	/* for the sessions of a batch to end */
#define SESSION_POLL_MS	10
#define LOCK_WAIT		"100ms"	/* for each lock that the end of a lease needs */

typedef struct HvEnding
{
	pg_uuid_t	lease;
	Oid			role;			/* InvalidOid: it is not there by its name */
	bool		failed;			/* tried before in this pass */
} HvEnding;

static HvStatement ending_statement = {
	"SELECT l.lease, l.role FROM vault.ending_leases($1) l", 1, {INT4OID}
};
static HvStatement lock_statement = {
	"SELECT l.role, l.role_name, l.drop_owned, l.reassign_to FROM vault.lease_to_drop($1) l", 1, {UUIDOID}
};
static HvStatement drop_statement = {
	"SELECT vault.drop_lease($1)", 1, {UUIDOID}
};
static HvStatement fail_statement = {
	"SELECT vault.fail_lease($1, $2)", 2, {UUIDOID, TEXTOID}
};

/*
 * How many sessions the roles have; each is told to end, if asked for. By the processes of the server: one that logs in has its
 * role there before it can run anything, and is in pg_stat_activity later. Its client may delay that (post_auth_delay).
 */
static int
CountSessions(const Oid *roles, int n, bool terminate)
{
	int			found = 0;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		const PGPROC *proc = &ProcGlobal->allProcs[i];
		Oid			role = proc->roleId;
		int			pid = proc->pid;

		for (int k = 0; OidIsValid(role) && k < n; k++)
			if (role == roles[k] && BackendPidGetProc(pid) == proc) /* else what is there is of a process that has ended */
			{
				found++;
				if (terminate)
					(void) DirectFunctionCall2(pg_terminate_backend, Int32GetDatum(pid), Int64GetDatum(0));
			}
	}
	return found;
}

/*
 * Note why a lease could not be ended.
 */
static void
NoteFailure(const HvEnding *ending, const ErrorData *failure)
{
	HvParams	params = {0};
	const char *why = failure->message;

	if (failure->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		why = "another transaction holds a lock on the role, or on what it owns";
	else if (failure->detail != NULL)
		why = psprintf("%s: %s", failure->message, failure->detail);
	HvAdd(&params, UUIDPGetDatum(&ending->lease));
	HvAdd(&params, CStringGetTextDatum(why));
	HvOwnerRun(&fail_statement, &params);
}

/*
 * Some work on one lease in a subtransaction; its error is noted, and stops no other.
 */
static void
TryStep(void (*work) (HvEnding *), HvEnding *ending)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile failure = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(ending);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		failure = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(failure->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (failure != NULL)
	{
		ending->failed = true;
		NoteFailure(ending, failure);
	}
}

static void
ShutRole(HvEnding *ending)
{
	HvShutRole(ending->role);
}

/*
 * Begin a transaction that waits for no lock for long: a transaction that has used what one role owns, or has altered
 * the role, may last for hours, and the supervisor has more to do.
 */
static void
BeginBounded(void)
{
	HvBeginWork();
	(void) set_config_option("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Find the leases that end, and shut their roles. Palloc'd in the given context; returns how many.
 */
static int
ShutRoles(HvEnding **endings, MemoryContext context)
{
	HvParams	params = {0};
	SPITupleTable *rows = NULL;
	int			n = 0;

	BeginBounded();
	if (HvSchemaHas("ending_leases", 1, ending_statement.types))
	{
		HvAdd(&params, Int32GetDatum(BATCH));
		HvOwnerRun(&ending_statement, &params);
		rows = SPI_tuptable;
		n = (int) SPI_processed;
	}
	*endings = MemoryContextAllocZero(context, Max(n, 1) * sizeof(HvEnding));
	for (int i = 0; i < n; i++)
	{
		HvEnding   *ending = &(*endings)[i];
		bool		isnull;
		Datum		role = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull);

		ending->role = isnull ? InvalidOid : DatumGetObjectId(role);
		memcpy(&ending->lease, DatumGetUUIDP(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull)), UUID_LEN);
	}
	for (int i = 0; i < n; i++)
		if (OidIsValid((*endings)[i].role))
			TryStep(ShutRole, &(*endings)[i]);
	HvCommitWork();
	return n;
}

/*
 * End the sessions of the roles, and wait for that within a bound.
 */
static void
EndSessions(const HvEnding *endings, int n)
{
	Oid		   *roles;
	int			found = 0;

	HvBeginWork();
	roles = palloc(n * sizeof(Oid));
	for (int i = 0; i < n; i++)
		if (OidIsValid(endings[i].role) && !endings[i].failed)
			roles[found++] = endings[i].role;
	if (found > 0 && CountSessions(roles, found, true) > 0)
		for (int waited = 0; waited < SESSION_WAIT_MS && CountSessions(roles, found, false) > 0; waited += SESSION_POLL_MS)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, SESSION_POLL_MS, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	HvCommitWork();
}

/*
 * Give to another role, or drop, what a role owns in this database, and take what it was granted there.
 */
static void
DisposeOfOwned(const char *role, const char *reassign_to)
{
	DropOwnedStmt *drop = makeNode(DropOwnedStmt);

	if (reassign_to != NULL)
	{
		ReassignOwnedStmt *reassign = makeNode(ReassignOwnedStmt);

		reassign->roles = list_make1(HvRoleSpec(role));
		reassign->newrole = HvRoleSpec(reassign_to);
		ReassignOwnedObjects(reassign);
		CommandCounterIncrement();
	}
	drop->roles = list_make1(HvRoleSpec(role));
	drop->behavior = DROP_RESTRICT;
	DropOwnedObjects(drop);
	CommandCounterIncrement();
}

/*
 * Drop the role of a lease, and the row with it.
 */
static void
DropOne(HvEnding *ending)
{
	HvParams	params = {0};
	DropRoleStmt *drop = makeNode(DropRoleStmt);
	char	   *name;
	bool		isnull;
	Oid			role;

	HvAdd(&params, UUIDPGetDatum(&ending->lease));
	HvOwnerRun(&lock_statement, &params);
	if (SPI_processed == 0)
		return;
	role = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (!isnull)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	columns = SPI_tuptable->tupdesc;
		char	   *reassign_to = SPI_getvalue(row, columns, 4);

		name = SPI_getvalue(row, columns, 2);
		if (CountSessions(&role, 1, true) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("sessions of role \"%s\" have not ended yet", name)));
		if (reassign_to != NULL || DatumGetBool(SPI_getbinval(row, columns, 3, &isnull)))
			DisposeOfOwned(name, reassign_to);
		drop->roles = list_make1(HvRoleSpec(name));
		DropRole(drop);
		CommandCounterIncrement();
	}
	HvOwnerRun(&drop_statement, &params);
}

static void
DropRoles(HvEnding *endings, int n)
{
	BeginBounded();
	for (int i = 0; i < n; i++)
		if (!endings[i].failed)
			TryStep(DropOne, &endings[i]);
	HvCommitWork();
}

/*
 * End what leases end now; true when there may be more. Outside of a transaction. May ereport.
 */
bool
HvEndLeases(void)
{
	MemoryContext context = CurrentMemoryContext;
	HvEnding   *endings;
	int			n;

	pgstat_report_activity(STATE_RUNNING, "vault.ending_leases()");
	n = ShutRoles(&endings, context);
	if (n > 0)
	{
		EndSessions(endings, n);
		DropRoles(endings, n);
	}
	(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return n >= BATCH;
}
