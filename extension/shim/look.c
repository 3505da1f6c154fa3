/*
 * look.c: vault.look_as(), what the changes of several who ask by REST query first.
 *
 * Each is decided about by itself (decide.c). The secret and its next role are found by indexes. After each change of a role
 * PostgreSQL plans every statement on a table with row security once more, so this runs none. vault.look_as_defined() is the
 * definition, which it runs where the tables are not as expected. A test compares the two. The statement of the caller has the
 * snapshot for all of it.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "boundrole.h"
#include "catalog/pg_type.h"
#include "decide.h"
#include "funcapi.h"
#include "runas.h"
#include "scram.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

enum Argument
{
	FINGERPRINTS, ADDRESSES, CLAIMS, ACTIONS, NAMES, ARGUMENTS
};

enum Column
{
	ASKED, CAUSE, ACTOR, ACTING, STATE, NEXT_ROLE, ITERATIONS, COLUMNS
};

enum StateColumn
{
	STATE_ID = 0, STATE_NAME = 1, STATE_BOUND = 22, STATE_COLUMNS
};

/* the columns of vault.secret_state, in their order, after the one that the index has */
static HvTable secrets_table = {
	"secrets", "secrets_name_key", "deleted_at", 1,
	{
		{"name", TEXTOID}, {"id", UUIDOID}, {"kind", TEXTOID}, {"content_type", TEXTOID}, {"description", TEXTOID},
		{"tags", JSONBOID}, {"rotation_interval_secs", INT8OID}, {"grace_period_secs", INT8OID}, {"generate_policy", JSONBOID},
		{"current_version", INT8OID}, {"next_rotation_at", TIMESTAMPTZOID}, {"rotation_schedule", TEXTOID},
		{"rotation_time_zone", TEXTOID}, {"rotation_window_secs", INT8OID}, {"rotation_paused", BOOLOID},
		{"keep_versions", INT4OID}, {"created_at", TIMESTAMPTZOID}, {"updated_at", TIMESTAMPTZOID},
		{"settings_revision", INT8OID}, {"first_version", INT8OID}, {"cas_required", BOOLOID},
		{"delete_version_after_secs", INT8OID}, {"bound", BOOLOID}, {"deleted_at", TIMESTAMPTZOID},
	}
};

#define DELETED_AT		STATE_COLUMNS

/* the elements of an array */
typedef struct Elements
{
	int			n;
	Datum	   *values;
	bool	   *nulls;
} Elements;

/* one call, with its tables open */
typedef struct Looks
{
	HvGrantTables grants;
	HvTokenTables tokens;
	HvScan		secrets;
	TupleDesc	state;			/* columns of vault.secret_state */
	Elements	questions[ARGUMENTS];
	int			n;
	ReturnSetInfo *result;
} Looks;

static HvStatement defined_statement = {
	"SELECT l.* FROM vault.look_as_defined($1, $2, $3, $4, $5) l",
	ARGUMENTS, {BYTEAARRAYOID, INETARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
};

/*
 * Which column of the table a column of vault.secret_state is.
 */
static int
TableColumn(int column)
{
	return column == STATE_ID ? 1 : column == STATE_NAME ? 0 : column;
}

/*
 * Whether vault.secret_state has the expected columns.
 */
static bool
IsExpected(TupleDesc state)
{
	if (state->natts != STATE_COLUMNS)
		return false;
	for (int i = 0; i < STATE_COLUMNS; i++)
		if (TupleDescAttr(state, i)->atttypid != secrets_table.columns[TableColumn(i)].type)
			return false;
	return true;
}

static void
CloseTables(Looks *looks)
{
	HvCloseTable(&looks->secrets);
	HvCloseTokens(&looks->tokens);
	HvCloseGrants(&looks->grants);
}

/*
 * Open what decides and what is looked up; false if it is not as expected.
 */
static bool
OpenTables(Looks *looks)
{
	Oid			type = TupleDescAttr(looks->result->setDesc, STATE)->atttypid;

	looks->state = lookup_rowtype_tupdesc_copy(type, -1);
	if (!IsExpected(looks->state) || !HvOpenTable(&secrets_table, &looks->secrets))
		return false;
	if (!HvOpenGrants(&looks->grants))
	{
		HvReleaseTable(&looks->secrets);
		return false;
	}
	if (HvOpenTokens(&looks->tokens))
		return true;
	HvCloseGrants(&looks->grants);
	HvReleaseTable(&looks->secrets);
	return false;
}

/*
 * Take the arrays apart; one that is null has no element.
 */
static void
TakeQuestions(Looks *looks, FunctionCallInfo fcinfo)
{
	static const Oid types[ARGUMENTS] = {BYTEAOID, INETOID, JSONBOID, TEXTOID, TEXTOID};

	for (int i = 0; i < ARGUMENTS; i++)
	{
		Elements   *of = &looks->questions[i];
		int16		len;
		bool		byval;
		char		align;

		if (PG_ARGISNULL(i))
			continue;
		get_typlenbyvalalign(types[i], &len, &byval, &align);
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(i), types[i], len, byval, align, &of->values, &of->nulls, &of->n);
		looks->n = Max(looks->n, of->n);
	}
}

/*
 * An element of an array, which is null after the last one.
 */
static NullableDatum
ElementOf(const Elements *of, int i)
{
	if (i >= of->n || of->nulls[i])
		return (NullableDatum) {(Datum) 0, true};
	return (NullableDatum) {of->values[i], false};
}

static HvQuestion
QuestionOf(const Looks *looks, int i)
{
	return (HvQuestion) {
		ElementOf(&looks->questions[FINGERPRINTS], i), ElementOf(&looks->questions[ADDRESSES], i),
		ElementOf(&looks->questions[CLAIMS], i), ElementOf(&looks->questions[ACTIONS], i), ElementOf(&looks->questions[NAMES], i)
	};
}

/*
 * Columns of vault.secret_state of a secret.
 */
static void
ReadState(Looks *looks, HeapTuple secret, NullableDatum *state)
{
	TupleDesc	columns = RelationGetDescr(looks->secrets.heap);
	Datum	   *values = palloc_array(Datum, columns->natts);
	bool	   *nulls = palloc_array(bool, columns->natts);

	heap_deform_tuple(secret, columns, values, nulls);
	for (int i = 0; i < STATE_COLUMNS; i++)
	{
		int			number = secrets_table.numbers[TableColumn(i)] - 1;

		state[i] = (NullableDatum) {values[number], nulls[number]};
	}
}

static NullableDatum
StateOf(Looks *looks, const NullableDatum *state)
{
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS];

	for (int i = 0; i < STATE_COLUMNS; i++)
	{
		values[i] = state[i].value;
		nulls[i] = state[i].isnull;
	}
	return (NullableDatum) {HeapTupleGetDatum(heap_form_tuple(looks->state, values, nulls)), false};
}

/*
 * Add what a change has to know of a secret. A role that is not what it was when it was bound is not said: a change has to
 * ask for its name, and is refused.
 */
static void
AddSecret(Looks *looks, HeapTuple secret, NullableDatum *row)
{
	NullableDatum state[STATE_COLUMNS];
	const char *role;

	ReadState(looks, secret, state);
	row[STATE] = StateOf(looks, state);
	if (state[STATE_ID].isnull || state[STATE_BOUND].isnull || !DatumGetBool(state[STATE_BOUND].value))
		return;
	role = HvUsualNextRole((HvBytes) {DatumGetUUIDP(state[STATE_ID].value)->data, HV_ID_LEN});
	if (role == NULL)
		return;
	row[NEXT_ROLE] = (NullableDatum) {CStringGetTextDatum(role), false};
	row[ITERATIONS] = (NullableDatum) {Int32GetDatum(HvScramIterations()), false};
}

/*
 * The next secret with the name that is scanned for, which is not deleted.
 */
static HeapTuple
NextSecret(Looks *looks)
{
	HeapTuple	secret;
	bool		present = false;

	while (!present && (secret = HvNextRow(&looks->secrets)) != NULL)
		(void) HvField(&looks->secrets, secret, DELETED_AT, &present);
	return present ? secret : NULL;
}

/*
 * Put a row into the result: who asks, and the secret if there is one.
 */
static void
PutRow(Looks *looks, int question, const HvHolder *holder, HeapTuple secret)
{
	NullableDatum row[COLUMNS];
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
		row[i] = (NullableDatum) {(Datum) 0, true};
	row[ASKED] = (NullableDatum) {Int32GetDatum(question + 1), false};
	row[CAUSE] = (NullableDatum) {holder->cause, holder->cause == 0};
	row[ACTOR] = (NullableDatum) {holder->actor, holder->actor == 0};
	row[ACTING] = (NullableDatum) {holder->acting, holder->acting == 0};
	if (secret != NULL)
		AddSecret(looks, secret, row);
	for (int i = 0; i < COLUMNS; i++)
	{
		values[i] = row[i].value;
		nulls[i] = row[i].isnull;
	}
	tuplestore_putvalues(looks->result->setResult, looks->result->setDesc, values, nulls);
}

/*
 * Answer a question by one row, or by one for each secret with the name if the database is damaged.
 */
static void
Answer(Looks *looks, int i)
{
	HvQuestion	question = QuestionOf(looks, i);
	HvHolder	holder;
	HeapTuple	secret = NULL;

	if (!HvDecideByScans(&looks->grants, &looks->tokens, &question, &holder))
		HvDecideBySql(&question, &holder);
	if (holder.cause == 0 && !question.name.isnull)
	{
		HvBeginScan(&looks->secrets, GetActiveSnapshot(), 1, &question.name.value);
		secret = NextSecret(looks);
	}
	do
		PutRow(looks, i, &holder, secret);
	while (secret != NULL && (secret = NextSecret(looks)) != NULL);
}

/*
 * Have the definition answer.
 */
static void
AnswerBySql(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HvParams	params = {0};

	SPI_connect();
	for (int i = 0; i < ARGUMENTS; i++)
		HvAddNullable(&params, fcinfo->args[i]);
	HvOwnerSee(&defined_statement, &params);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(hv_look_as);

/*
 * Who asks for several changes, and the secret that each is of, in the columns of vault.look_as().
 */
Datum
hv_look_as(PG_FUNCTION_ARGS)
{
	Looks		looks = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	HvRequireVaultOwner();
	InitMaterializedSRF(fcinfo, 0);
	if (!OpenTables(&looks))
	{
		AnswerBySql(fcinfo);
		return (Datum) 0;
	}
	TakeQuestions(&looks, fcinfo);
	for (int i = 0; i < looks.n; i++)
		Answer(&looks, i);
	CloseTables(&looks);
	return (Datum) 0;
}
