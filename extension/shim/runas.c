/*
 * runas.c: runs statements with the rights of vault_owner.
 */
#include "hyperion_vault.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "runas.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

static void
PreparePlan(HvStatement *statement)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(statement->text, statement->nparams, statement->types,
										  statement->by_index ? CURSOR_OPT_GENERIC_PLAN : 0);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	statement->plan = plan;
}

/*
 * Whether a statement has the plan that it keeps.
 */
static bool
IsPlanned(const HvStatement *statement)
{
	CachedPlanSource *source;

	if (statement->plan == NULL)
		return false;
	source = linitial_node(CachedPlanSource, SPI_plan_get_plan_sources(statement->plan));
	return source->is_valid && source->gplan != NULL && source->gplan->is_valid;
}

/*
 * Change a setting of the caller's until the GUC nest level ends.
 */
static void
SetLocally(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Have row security applied rather than refused, until the GUC nest level ends. Every script of pg_dump turns it off
 * for its session, and under FORCE that would fail whatever we run: even the event trigger, and so any DROP FUNCTION.
 */
static void
TurnRowSecurityOn(void)
{
	if (!row_security)
		SetLocally("row_security", "on");
}

/*
 * Run a statement as vault_owner between SPI_connect and SPI_finish; rows are in SPI_tuptable. May ereport: the
 * abort of the (sub)transaction then restores the caller's identity.
 */
static void
RunAsOwner(HvStatement *statement, const HvParams *params, bool read_only)
{
	Oid			owner = get_role_oid(HV_OWNER_NAME, false);
	Oid			caller;
	int			context;
	int			level;
	int			rc;

	Assert(params->n == statement->nparams);
	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	TurnRowSecurityOn();
	if (statement->plan == NULL)
		PreparePlan(statement);
	if (statement->by_index && !IsPlanned(statement))
	{
		SetLocally("enable_seqscan", "off");
		SetLocally("enable_bitmapscan", "off");	/* which takes two nodes to find what one does */
		SetLocally("jit", "off");	/* which a plan that has no index left would be worth by its cost */
	}
	rc = SPI_execute_plan(statement->plan, (Datum *) params->values, params->nulls, read_only, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(caller, context);
}

/*
 * Run a statement that may write.
 */
void
HvOwnerRun(HvStatement *statement, const HvParams *params)
{
	RunAsOwner(statement, params, false);
}

/*
 * Run a statement that reads, on the snapshot that is active.
 */
void
HvOwnerSee(HvStatement *statement, const HvParams *params)
{
	RunAsOwner(statement, params, true);
}

/*
 * Run a statement that decides or fetches, on what is committed now and done by this transaction, whatever its
 * isolation level: what was revoked, deleted or expired is so at once, like a privilege of PostgreSQL. Functions in
 * it are STABLE, for they use this snapshot and a VOLATILE one would take the transaction's.
 */
void
HvOwnerLook(HvStatement *statement, const HvParams *params)
{
	/* Of no catalog, and so taken again; GetLatestSnapshot() would refuse while parallel workers run. */
	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	RunAsOwner(statement, params, true);
	PopActiveSnapshot();
}

/*
 * The same for a function that returns what the statement finds, in the form of InitMaterializedSRF().
 */
void
HvOwnerLookRows(HvStatement *statement, const HvParams *params, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	HvOwnerLook(statement, params);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

void
HvAdd(HvParams *params, Datum value)
{
	Assert(params->n < HV_MAX_PARAMS);
	params->values[params->n] = value;
	params->nulls[params->n++] = ' ';
}

void
HvAddNull(HvParams *params)
{
	HvAdd(params, (Datum) 0);
	params->nulls[params->n - 1] = 'n';
}

void
HvAddNullable(HvParams *params, NullableDatum value)
{
	if (value.isnull)
		HvAddNull(params);
	else
		HvAdd(params, value.value);
}

/*
 * Append ASCII text, or text that is in the server's encoding already; empty with no data is null. Palloc'd.
 */
void
HvAddText(HvParams *params, HvBytes value)
{
	if (value.data == NULL)
		HvAddNull(params);
	else
		HvAdd(params, PointerGetDatum(cstring_to_text_with_len((const char *) value.data, value.len)));
}

/*
 * Append bytes. Palloc'd.
 */
void
HvAddBytea(HvParams *params, HvBytes value)
{
	HvAdd(params, PointerGetDatum(cstring_to_text_with_len((const char *) value.data, value.len)));
}
