/*
 * readas.c: vault.read_as(), the reads of several who ask by REST, each decided about by itself.
 *
 * What it answers is defined by vault.read_as_defined(), which it runs where the tables are not as expected. A test compares
 * the two. The statement of the caller has the snapshot for all of it: tokens, grants and versions.
 */
#include "hyperion_vault.h"

#include "call.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "granting.h"
#include "miscadmin.h"
#include "readable.h"
#include "runas.h"
#include "text.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#define ANONYMOUS_ROLE	"vault_anonymous"
#define COLUMNS			20

enum Argument
{
	FINGERPRINTS, ADDRESSES, CLAIMS, ASKERS, NAMES, ASKED_VERSION
};

/* who asks, as vault.decision: texts that are NULL are null */
typedef struct Asker
{
	Datum		cause;
	Datum		actor;
	Datum		acting;
	Oid			role;
	Datum		scopes;
} Asker;

/* the elements of an array */
typedef struct Elements
{
	int			n;
	Datum	   *values;
	bool	   *nulls;
} Elements;

/* one call */
typedef struct Reads
{
	HvGrantTables grants;
	HvSecretTables secrets;
	Snapshot	snapshot;
	Asker	   *askers;
	int			naskers;
	Elements	asking;			/* which asker has each question */
	Elements	names;
	int64		version;		/* 0: the current one */
	bool		possible;		/* no version is below 1 */
	ReturnSetInfo *result;
} Reads;

static HvStatement defined_statement = {
	"SELECT r.* FROM vault.read_as_defined($1, $2, $3, $4, $5, $6) r",
	6, {BYTEAARRAYOID, INETARRAYOID, JSONBARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT8OID}
};
/* tokens alone, in one query; and all who ask, if one of them has claims */
static HvStatement tokens_statement = {
	"SELECT c.n, h.cause, h.actor, h.acting, h.role, h.scopes"
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY c (fingerprint, address, n)"
	" CROSS JOIN LATERAL vault.token_holder(c.fingerprint, c.address) h",
	2, {BYTEAARRAYOID, INETARRAYOID}, true
};
static HvStatement identify_statement = {
	"SELECT c.n, d.cause, d.actor, d.acting, d.role, d.scopes"
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) WITH ORDINALITY c (fingerprint, address, claims, n)"
	" CROSS JOIN LATERAL vault.identify(c.fingerprint, c.address, c.claims) d",
	3, {BYTEAARRAYOID, INETARRAYOID, JSONBARRAYOID}
};
static HvStatement scopes_statement = {
	"SELECT vault.scopes_allow($1, 'read', $2)", 2, {JSONBOID, TEXTOID}
};

static Elements
ElementsOf(FunctionCallInfo fcinfo, int arg, Oid type)
{
	Elements	of = {0};
	int16		len;
	bool		byval;
	char		align;

	if (PG_ARGISNULL(arg))
		return of;
	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, byval, align, &of.values, &of.nulls, &of.n);
	return of;
}

static bool
HoldsAny(const Elements *of)
{
	for (int i = 0; i < of->n; i++)
		if (!of->nulls[i])
			return true;
	return false;
}

/*
 * A column of a row of the last statement; 0 for null. Copied to the context.
 */
static Datum
CopyColumn(HeapTuple row, int column, MemoryContext context)
{
	MemoryContext spi = MemoryContextSwitchTo(context);
	bool		isnull;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);

	value = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(spi);
	return value;
}

/*
 * Those who ask without a token, and those whose token is not found, as vault.identify() has them.
 */
static Asker *
PlainAskers(const Elements *fingerprints, int n)
{
	Asker	   *askers = palloc0_array(Asker, Max(n, 1));
	Oid			anonymous = get_role_oid(ANONYMOUS_ROLE, true);

	for (int i = 0; i < n; i++)
	{
		if (i < fingerprints->n && !fingerprints->nulls[i])
			askers[i] = (Asker) {CStringGetTextDatum("token_unknown"), CStringGetTextDatum("anonymous")};
		else if (OidIsValid(anonymous))
			askers[i] = (Asker) {0, CStringGetTextDatum("reader"), CStringGetTextDatum(ANONYMOUS_ROLE), anonymous};
		else
			askers[i] = (Asker) {CStringGetTextDatum("grant"), CStringGetTextDatum("reader")};
	}
	return askers;
}

/*
 * Put what a statement has found of those who ask in their place.
 */
static void
TakeAskers(Reads *reads, MemoryContext context)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		int64		n = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		Asker	   *asker = &reads->askers[n - 1];

		asker->cause = CopyColumn(row, 2, context);
		asker->actor = CopyColumn(row, 3, context);
		asker->acting = CopyColumn(row, 4, context);
		asker->role = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 5, &isnull));
		if (isnull)
			asker->role = InvalidOid;
		asker->scopes = CopyColumn(row, 6, context);
	}
}

/*
 * Find out who asks. Tokens and claims are looked up by a statement, which callers without either do not need.
 */
static void
IdentifyAskers(Reads *reads, FunctionCallInfo fcinfo)
{
	Elements	fingerprints = ElementsOf(fcinfo, FINGERPRINTS, BYTEAOID);
	Elements	addresses = ElementsOf(fcinfo, ADDRESSES, INETOID);
	Elements	claims = ElementsOf(fcinfo, CLAIMS, JSONBOID);
	bool		claimed = HoldsAny(&claims);
	MemoryContext context = CurrentMemoryContext;
	HvParams	params = {0};

	reads->naskers = Max(Max(fingerprints.n, addresses.n), claims.n);
	reads->askers = PlainAskers(&fingerprints, reads->naskers);
	if (!claimed && !HoldsAny(&fingerprints))
		return;
	SPI_connect();
	for (int i = FINGERPRINTS; i <= (claimed ? CLAIMS : ADDRESSES); i++)
		HvAddNullable(&params, fcinfo->args[i]);
	HvOwnerSee(claimed ? &identify_statement : &tokens_statement, &params);
	TakeAskers(reads, context);
	SPI_finish();
}

static bool
ScopesAllow(Datum scopes, NullableDatum name)
{
	HvParams	params = {0};
	bool		isnull;
	bool		allow;

	SPI_connect();
	HvAdd(&params, scopes);
	HvAddNullable(&params, name);
	HvOwnerSee(&scopes_statement, &params);
	allow = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	SPI_finish();
	return allow;
}

/*
 * Why an asker may not read a name: a text, or 0 if it may.
 */
static Datum
CauseOf(Reads *reads, const Asker *asker, NullableDatum name)
{
	if (asker->cause != 0)
		return asker->cause;
	if (!OidIsValid(asker->role) ||
		(!HvIsSuperuser(asker->role) &&
		 (name.isnull || !HvIsGranted(&reads->grants, reads->snapshot, asker->role, HvLiteral("read"),
									  HvTextBytes(DatumGetTextPP(name.value))))))
		return CStringGetTextDatum("grant");
	if (asker->scopes != 0 && !ScopesAllow(asker->scopes, name))
		return CStringGetTextDatum("scope");
	return 0;
}

/*
 * Put a column of a found row into a row of the result.
 */
static void
PutField(NullableDatum *row, int place, HvScan *scan, HeapTuple from, int column)
{
	row[place].value = HvField(scan, from, column, &row[place].isnull);
}

/*
 * Put what was found of a name into a row of the result.
 */
static void
PutFound(NullableDatum *row, HvSecretTables *tables)
{
	static const int secret[] = {
		[4] = HV_SECRET_ID, HV_SECRET_NAME, HV_SECRET_CONTENT_TYPE, HV_SECRET_KIND, HV_SECRET_CURRENT
	};
	static const int version[] = {
		[9] = HV_VERSION_NUMBER, HV_VERSION_ENVELOPE, HV_VERSION_KEY_ID, HV_VERSION_WRAPPED, HV_VERSION_NONCE,
		HV_VERSION_CIPHERTEXT, HV_VERSION_CREATED_AT, HV_VERSION_EXPIRES_AT
	};

	for (int i = 4; i < lengthof(secret); i++)
		PutField(row, i, &tables->secrets, tables->secret, secret[i]);
	for (int i = 9; i < lengthof(version); i++)
		PutField(row, i, &tables->versions, tables->version, version[i]);
	PutField(row, 17, &tables->secrets, tables->secret, HV_SECRET_TAGS);
	PutField(row, 18, &tables->secrets, tables->secret, HV_SECRET_NEXT_ROTATION);
	PutField(row, 19, &tables->versions, tables->version, HV_VERSION_DELETE_AT);
}

/*
 * Answer a question by one row.
 */
static void
Answer(Reads *reads, int question, const Asker *asker)
{
	NullableDatum name = {reads->names.values[question], reads->names.nulls[question]};
	Datum		cause = CauseOf(reads, asker, name);
	NullableDatum row[COLUMNS];
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
		row[i] = (NullableDatum) {(Datum) 0, true};
	row[0] = (NullableDatum) {Int32GetDatum(question + 1), false};
	row[1] = (NullableDatum) {cause, cause == 0};
	row[2] = (NullableDatum) {asker->actor, asker->actor == 0};
	row[3] = (NullableDatum) {asker->acting, asker->acting == 0};
	if (cause != 0 && asker->actor != 0 && strcmp(TextDatumGetCString(asker->actor), "reader") == 0)
		row[2].value = CStringGetTextDatum("anonymous");
	if (cause == 0 && !name.isnull && reads->possible &&
		HvFindVersion(&reads->secrets, reads->snapshot, name.value, reads->version))
		PutFound(row, &reads->secrets);
	for (int i = 0; i < COLUMNS; i++)
	{
		values[i] = row[i].value;
		nulls[i] = row[i].isnull;
	}
	tuplestore_putvalues(reads->result->setResult, reads->result->setDesc, values, nulls);
}

/*
 * Answer every question whose asker there is.
 */
static void
AnswerEach(Reads *reads, FunctionCallInfo fcinfo)
{
	HvPatternAnswers answers = {0};

	reads->grants.answers = &answers;
	IdentifyAskers(reads, fcinfo);
	reads->asking = ElementsOf(fcinfo, ASKERS, INT4OID);
	reads->names = ElementsOf(fcinfo, NAMES, TEXTOID);
	reads->version = PG_ARGISNULL(ASKED_VERSION) ? 0 : PG_GETARG_INT64(ASKED_VERSION);
	reads->possible = PG_ARGISNULL(ASKED_VERSION) || reads->version > 0;
	for (int i = 0; i < Min(reads->asking.n, reads->names.n); i++)
	{
		int			asker = reads->asking.nulls[i] ? 0 : DatumGetInt32(reads->asking.values[i]);

		if (asker >= 1 && asker <= reads->naskers)
			Answer(reads, i, &reads->askers[asker - 1]);
	}
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
	for (int i = FINGERPRINTS; i <= ASKED_VERSION; i++)
		HvAddNullable(&params, fcinfo->args[i]);
	HvOwnerSee(&defined_statement, &params);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(hv_read_as);

/*
 * Sealed values of names for several who ask, in the columns of vault.read_as().
 */
Datum
hv_read_as(PG_FUNCTION_ARGS)
{
	Reads		reads = {.snapshot = GetActiveSnapshot(), .result = (ReturnSetInfo *) fcinfo->resultinfo};

	HvRequireVaultOwner();
	InitMaterializedSRF(fcinfo, 0);
	if (!HvOpenGrants(&reads.grants))
		AnswerBySql(fcinfo);
	else if (!HvOpenSecrets(&reads.secrets))
	{
		HvCloseGrants(&reads.grants);
		AnswerBySql(fcinfo);
	}
	else
	{
		AnswerEach(&reads, fcinfo);
		HvCloseSecrets(&reads.secrets);
		HvCloseGrants(&reads.grants);
	}
	return (Datum) 0;
}
