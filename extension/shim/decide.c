/*
 * decide.c: vault.decide() and vault.admit(), the decision about a caller by REST.
 *
 * They decide by index scans about callers with a stored token, or with none. About all others, and for the words of each
 * refusal, they run their definitions in SQL. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "arg.h"
#include "catalog/pg_type.h"
#include "decide.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

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
 * Why a valid caller may not do what is asked, or NULL if it may.
 */
static const char *
RefusalOf(HvGrantTables *grants, const HvHolder *holder, const HvQuestion *question)
{
	Datum		action = question->action.value;
	Datum		name = question->name.value;

	if (!HvIsSuperuser(holder->role) &&
		!HvIsGranted(grants, GetActiveSnapshot(), holder->role, HvTextBytes(DatumGetTextPP(action)), HvTextBytes(DatumGetTextPP(name))))
		return "grant";
	if (holder->scopes != 0 && !ScopesAllow(holder->scopes, action, name))
		return "scope";
	return NULL;
}

/*
 * Whether scans answer a question.
 */
static bool
IsPlain(const HvQuestion *question)
{
	return question->claims.isnull && !question->action.isnull && !question->name.isnull &&
		IsAction(HvTextBytes(DatumGetTextPP(question->action.value)));
}

bool
HvDecideByScans(HvGrantTables *grants, HvTokenTables *tokens, const HvQuestion *question, HvHolder *holder)
{
	const char *refusal;

	if (!IsPlain(question))
		return false;
	if (question->fingerprint.isnull)
		HvFindAnonymous(holder);
	else
		HvFindHolder(tokens, GetActiveSnapshot(), question->fingerprint.value, question->address, holder);
	refusal = holder->cause != 0 ? NULL : RefusalOf(grants, holder, question);
	if (refusal != NULL)
		holder->cause = CStringGetTextDatum(refusal);
	if (holder->cause != 0 && question->fingerprint.isnull)
		holder->actor = CStringGetTextDatum("anonymous");
	return true;
}

/*
 * A column of the row that a statement has found, which is not of fixed length; 0 for null. Copied to the context.
 */
static Datum
CopyFound(int column, MemoryContext context)
{
	MemoryContext spi = MemoryContextSwitchTo(context);
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	value = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(spi);
	return value;
}

void
HvDecideBySql(const HvQuestion *question, HvHolder *holder)
{
	MemoryContext context = CurrentMemoryContext;
	HvParams	params = {0};
	bool		isnull;

	SPI_connect();
	HvAddNullable(&params, question->fingerprint);
	HvAddNullable(&params, question->address);
	HvAddNullable(&params, question->claims);
	HvAddNullable(&params, question->action);
	HvAddNullable(&params, question->name);
	HvOwnerSee(&decided_statement, &params);
	holder->cause = CopyFound(1, context);
	holder->actor = CopyFound(2, context);
	holder->acting = CopyFound(3, context);
	holder->role = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	if (isnull)
		holder->role = InvalidOid;
	holder->scopes = CopyFound(5, context);
	SPI_finish();
}

static HvQuestion
QuestionOf(FunctionCallInfo fcinfo)
{
	return (HvQuestion) {
		Arg(fcinfo, HV_CALLER_FINGERPRINT), Arg(fcinfo, HV_CALLER_ADDRESS), Arg(fcinfo, HV_CALLER_CLAIMS),
		Arg(fcinfo, HV_CALLER_ACTION), Arg(fcinfo, HV_CALLER_NAME)
	};
}

/*
 * Decide by scans, as vault.decide_defined() does; false if that has to be asked.
 */
static bool
DecideOne(const HvQuestion *question, bool latest, HvHolder *holder)
{
	HvGrantTables grants;
	HvTokenTables tokens;

	if (!IsPlain(question) || !HvOpenGrants(&grants))
		return false;
	if (!HvOpenTokens(&tokens))
	{
		HvCloseGrants(&grants);
		return false;
	}
	PushActiveSnapshot(latest ? GetCatalogSnapshot(InvalidOid) : GetActiveSnapshot());
	(void) HvDecideByScans(&grants, &tokens, question, holder);
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
 * The origin by the definition, which has the words of each refusal.
 */
static Datum
AdmitBySql(FunctionCallInfo fcinfo)
{
	MemoryContext context = CurrentMemoryContext;
	HvParams	params = {0};
	Datum		values[HV_ORIGIN_COLUMNS];
	bool		nulls[HV_ORIGIN_COLUMNS];
	Datum		row;

	SPI_connect();
	for (int i = 0; i < admitted_statement.nparams; i++)
		HvAddNullable(&params, fcinfo->args[i]);
	HvOwnerRun(&admitted_statement, &params);
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
	HvQuestion	question = QuestionOf(fcinfo);
	HvHolder	holder;

	HvRequireVaultOwner();
	if (!DecideOne(&question, false, &holder))
		HvDecideBySql(&question, &holder);
	PG_RETURN_DATUM(RowOf(fcinfo,
						  (Datum[]) {holder.cause, holder.actor, holder.acting, ObjectIdGetDatum(holder.role), holder.scopes},
						  (bool[]) {holder.cause == 0, holder.actor == 0, holder.acting == 0, !OidIsValid(holder.role), holder.scopes == 0}));
}

bool
HvAdmitByScans(FunctionCallInfo fcinfo, NullableDatum *origin)
{
	HvQuestion	question = QuestionOf(fcinfo);
	HvHolder	holder;

	if (!DecideOne(&question, true, &holder) || holder.cause != 0)
		return false;
	origin[HV_ORIGIN_NODE] = Arg(fcinfo, HV_CALLER_NODE);
	origin[HV_ORIGIN_ACTOR] = HvNotNull(holder.actor);
	origin[HV_ORIGIN_SESSION_ROLE] = (NullableDatum) {holder.acting, holder.acting == 0};
	origin[HV_ORIGIN_CLIENT_IP] = Arg(fcinfo, HV_CALLER_ADDRESS);
	origin[HV_ORIGIN_REQUEST_ID] = Arg(fcinfo, HV_CALLER_REQUEST_ID);
	return true;
}

PG_FUNCTION_INFO_V1(hv_admit);

/*
 * The origin of a change by REST, decided about by what is committed now; ereports unless the caller may make it.
 */
Datum
hv_admit(PG_FUNCTION_ARGS)
{
	NullableDatum origin[HV_ORIGIN_COLUMNS];
	Datum		values[HV_ORIGIN_COLUMNS];
	bool		nulls[HV_ORIGIN_COLUMNS];

	HvRequireVaultOwner();
	if (!HvAdmitByScans(fcinfo, origin))
		PG_RETURN_DATUM(AdmitBySql(fcinfo));
	for (int i = 0; i < HV_ORIGIN_COLUMNS; i++)
	{
		values[i] = origin[i].value;
		nulls[i] = origin[i].isnull;
	}
	PG_RETURN_DATUM(RowOf(fcinfo, values, nulls));
}
