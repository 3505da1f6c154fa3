/*
 * decide.c: vault.decide() and vault.admit(), the decision about a caller by REST.
 *
 * They decide by index scans about callers with a stored token, or with none. About all others, and for the words of each
 * refusal, they run their definitions in SQL. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "granting.h"
#include "miscadmin.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "tokenholder.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

enum Argument
{
	FINGERPRINT, ADDRESS, CLAIMS, ACTION, NAME, NODE, REQUEST_ID
};

#define DECISION_COLUMNS	5
#define ORIGIN_COLUMNS		5

static HvStatement decided_statement = {
	"SELECT d.cause, d.actor, d.acting, d.role, d.scopes FROM vault.decide_defined($1, $2, $3, $4, $5) d",
	5, {BYTEAOID, INETOID, JSONBOID, TEXTOID, TEXTOID}
};
static HvStatement admitted_statement = {
	"SELECT o.node, o.actor, o.session_role, o.client_ip, o.request_id FROM vault.admit_defined($1, $2, $3, $4, $5, $6, $7) o",
	7, {BYTEAOID, INETOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
};
static HvStatement scopes_statement = {
	"SELECT vault.scopes_allow($1, $2, $3)", 3, {JSONBOID, TEXTOID, TEXTOID}
};

/* the actions of vault.all_actions() */
static const char *const actions[] = {"read", "create", "update", "delete", "rotate", "verify", "manage", "audit"};

static bool
IsAction(HvBytes action)
{
	for (int i = 0; i < lengthof(actions); i++)
		if (strlen(actions[i]) == action.len && memcmp(actions[i], action.data, action.len) == 0)
			return true;
	return false;
}

static bool
ScopesAllow(Datum scopes, Datum action, Datum name)
{
	HvParams	params = {0};
	bool		isnull;
	bool		allow;

	SPI_connect();
	HvAdd(&params, scopes);
	HvAdd(&params, action);
	HvAdd(&params, name);
	HvOwnerSee(&scopes_statement, &params);
	allow = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	SPI_finish();
	return allow;
}

/*
 * Why a valid caller may not do an action on a name, or NULL if it may.
 */
static const char *
RefusalOf(HvGrantTables *grants, Snapshot snapshot, const HvHolder *holder, Datum action, Datum name)
{
	if (!HvIsSuperuser(holder->role) &&
		!HvIsGranted(grants, snapshot, holder->role, HvTextBytes(DatumGetTextPP(action)), HvTextBytes(DatumGetTextPP(name))))
		return "grant";
	if (holder->scopes != 0 && !ScopesAllow(holder->scopes, action, name))
		return "scope";
	return NULL;
}

/*
 * Decide by scans, as vault.decide_defined() does; false if that has to be asked.
 */
static bool
DecideByScans(FunctionCallInfo fcinfo, bool latest, HvHolder *holder)
{
	HvGrantTables grants;
	HvTokenTables tokens;
	const char *refusal;

	if (!PG_ARGISNULL(CLAIMS) || PG_ARGISNULL(ACTION) || PG_ARGISNULL(NAME) || !IsAction(HvTextBytes(PG_GETARG_TEXT_PP(ACTION))) ||
		!HvOpenGrants(&grants))
		return false;
	if (!HvOpenTokens(&tokens))
	{
		HvCloseGrants(&grants);
		return false;
	}
	PushActiveSnapshot(latest ? GetCatalogSnapshot(InvalidOid) : GetActiveSnapshot());
	if (PG_ARGISNULL(FINGERPRINT))
		HvFindAnonymous(holder);
	else
		HvFindHolder(&tokens, GetActiveSnapshot(), PG_GETARG_DATUM(FINGERPRINT), fcinfo->args[ADDRESS], holder);
	refusal = holder->cause != 0 ? NULL
		: RefusalOf(&grants, GetActiveSnapshot(), holder, PG_GETARG_DATUM(ACTION), PG_GETARG_DATUM(NAME));
	if (refusal != NULL)
		holder->cause = CStringGetTextDatum(refusal);
	if (holder->cause != 0 && PG_ARGISNULL(FINGERPRINT))
		holder->actor = CStringGetTextDatum("anonymous");
	PopActiveSnapshot();
	HvCloseTokens(&tokens);
	HvCloseGrants(&grants);
	return true;
}

/*
 * Make the row that the function returns.
 */
static Datum
RowOf(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	columns;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the function does not return a row");
	return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}

/*
 * The row that a statement finds with the arguments of the function.
 */
static Datum
RowBySql(FunctionCallInfo fcinfo, HvStatement *statement, bool latest)
{
	MemoryContext context = CurrentMemoryContext;
	HvParams	params = {0};
	Datum		values[Max(DECISION_COLUMNS, ORIGIN_COLUMNS)];
	bool		nulls[Max(DECISION_COLUMNS, ORIGIN_COLUMNS)];
	Datum		row;

	SPI_connect();
	for (int i = 0; i < statement->nparams; i++)
		HvAddNullable(&params, fcinfo->args[i]);
	if (latest)
		HvOwnerRun(statement, &params);
	else
		HvOwnerSee(statement, &params);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	MemoryContextSwitchTo(context);
	row = RowOf(fcinfo, values, nulls);
	SPI_finish();
	return row;
}

PG_FUNCTION_INFO_V1(hv_decide);

/*
 * Who asks by REST, and why it may not, by the snapshot of the statement that asks.
 */
Datum
hv_decide(PG_FUNCTION_ARGS)
{
	HvHolder	holder;

	HvRequireVaultOwner();
	if (!DecideByScans(fcinfo, false, &holder))
		PG_RETURN_DATUM(RowBySql(fcinfo, &decided_statement, false));
	PG_RETURN_DATUM(RowOf(fcinfo,
						  (Datum[]) {holder.cause, holder.actor, holder.acting, ObjectIdGetDatum(holder.role), holder.scopes},
						  (bool[]) {holder.cause == 0, holder.actor == 0, holder.acting == 0, !OidIsValid(holder.role), holder.scopes == 0}));
}

PG_FUNCTION_INFO_V1(hv_admit);

/*
 * The origin of a change by REST, decided about by what is committed now; ereports unless the caller may make it.
 */
Datum
hv_admit(PG_FUNCTION_ARGS)
{
	HvHolder	holder;

	HvRequireVaultOwner();
	if (!DecideByScans(fcinfo, true, &holder) || holder.cause != 0)
		PG_RETURN_DATUM(RowBySql(fcinfo, &admitted_statement, true));
	PG_RETURN_DATUM(RowOf(fcinfo,
						  (Datum[]) {PG_GETARG_DATUM(NODE), holder.actor, holder.acting, PG_GETARG_DATUM(ADDRESS), PG_GETARG_DATUM(REQUEST_ID)},
						  (bool[]) {PG_ARGISNULL(NODE), false, holder.acting == 0, PG_ARGISNULL(ADDRESS), PG_ARGISNULL(REQUEST_ID)}));
}
