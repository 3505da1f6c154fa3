/*
 * append.c: vault.append_version(), which makes a sealed value the current version of a secret.
 *
 * What most changes are is done here, without a statement: only the value changes, and the secret is not bound and has no
 * deleted version. The rest, and every refusal, is vault.append_anyhow()'s. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "append.h"
#include "arg.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "readonly.h"
#include "sealed.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

enum SecretColumn
{
	SECRET_ID, SECRET_NAME, SECRET_CURRENT, SECRET_UPDATED_AT, SECRET_DELETED_AT, SECRET_GRACE, SECRET_KEEP,
	SECRET_HAS_DELETED, SECRET_BOUND, SECRET_DELETE_AFTER
};

static HvTable secrets_table = {
	"secrets", "secrets_pkey", NULL, 1,
	{
		[SECRET_ID] = {"id", UUIDOID},
		[SECRET_NAME] = {"name", TEXTOID},
		[SECRET_CURRENT] = {"current_version", INT8OID},
		[SECRET_UPDATED_AT] = {"updated_at", TIMESTAMPTZOID},
		[SECRET_DELETED_AT] = {"deleted_at", TIMESTAMPTZOID},
		[SECRET_GRACE] = {"grace_period_secs", INT8OID},
		[SECRET_KEEP] = {"keep_versions", INT4OID},
		[SECRET_HAS_DELETED] = {"has_deleted", BOOLOID},
		[SECRET_BOUND] = {"bound", BOOLOID},
		[SECRET_DELETE_AFTER] = {"delete_version_after_secs", INT8OID},
	}
};

enum VersionColumn
{
	VERSION_SECRET, VERSION_NUMBER, VERSION_SEALED, VERSION_CREATED_AT = VERSION_SEALED + HV_SEALED_COLUMNS, VERSION_EXPIRES_AT,
	VERSION_EXPIRED, VERSION_DELETE_AT, VERSION_COLUMNS
};

static HvTable versions_table = {
	"secret_versions", "secret_versions_pkey", NULL, 2,
	{
		[VERSION_SECRET] = {"secret_id", UUIDOID},
		[VERSION_NUMBER] = {"version", INT8OID},
		[VERSION_SEALED] = {"envelope_version", INT2OID}, {"kms_key_id", TEXTOID}, {"wrapped_dek", BYTEAOID},
		{"nonce", BYTEAOID}, {"ciphertext", BYTEAOID},
		[VERSION_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
		[VERSION_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
		[VERSION_EXPIRED] = {"expired", BOOLOID},
		[VERSION_DELETE_AT] = {"delete_at", TIMESTAMPTZOID},
	},
	.inserted = true
};

/* what a change writes to, and the secret */
typedef struct Tables
{
	HvTarget	secrets;
	HvTarget	versions;
	HvNotes		notes;
	HeapTuple	secret;
} Tables;

static NullableDatum
NotNull(Datum value)
{
	return (NullableDatum) {value, false};
}

/*
 * Open the tables in the order in which the statements of vault.append_anyhow() lock them.
 */
static bool
OpenTables(Tables *tables)
{
	if (!HvOpenTarget(&secrets_table, &tables->secrets))
		return false;
	if (HvOpenTarget(&versions_table, &tables->versions))
	{
		if (HvOpenNotes(&tables->notes))
			return true;
		HvReleaseTarget(&tables->versions);
	}
	HvReleaseTarget(&tables->secrets);
	return false;
}

static void
CloseTables(Tables *tables, bool done)
{
	HvEndScan(&tables->secrets.scan);
	if (done)
	{
		HvCloseTarget(&tables->secrets);
		HvCloseTarget(&tables->versions);
		HvCloseNotes(&tables->notes);
		return;
	}
	HvReleaseTarget(&tables->secrets);
	HvReleaseTarget(&tables->versions);
	HvReleaseNotes(&tables->notes);
}

static Datum
SecretField(Tables *tables, int column)
{
	return HvFieldNotNull(&tables->secrets.scan, tables->secret, column);
}

/*
 * Whether the secret is one whose value can be changed here, at the expected version.
 */
static bool
IsOrdinary(Tables *tables, int64 expected_version)
{
	bool		present;

	(void) HvField(&tables->secrets.scan, tables->secret, SECRET_DELETED_AT, &present);
	return present && DatumGetInt64(SecretField(tables, SECRET_CURRENT)) == expected_version &&
		!DatumGetBool(SecretField(tables, SECRET_HAS_DELETED)) && !DatumGetBool(SecretField(tables, SECRET_BOUND)) &&
		DatumGetInt64(SecretField(tables, SECRET_GRACE)) == 0 && DatumGetInt32(SecretField(tables, SECRET_KEEP)) == 0;
}

/*
 * Find the secret and lock it; false if it has to be changed by a statement.
 */
static bool
LockOrdinary(Tables *tables, const HvAppend *append)
{
	HvBeginScan(&tables->secrets.scan, GetActiveSnapshot(), 1, &append->id);
	tables->secret = HvNextRow(&tables->secrets.scan);
	return tables->secret != NULL && IsOrdinary(tables, append->expected_version) &&
		HvLockRow(&tables->secrets, tables->secret, LockTupleNoKeyExclusive);
}

/*
 * Whether a version ends when another takes its place: one without grace, or whose grace is over.
 */
static bool
Ends(HvScan *versions, HeapTuple version, TimestampTz now)
{
	bool		isnull;
	Datum		expires_at = HvField(versions, version, VERSION_EXPIRES_AT, &isnull);

	return isnull || DatumGetTimestampTz(expires_at) <= now || DatumGetBool(HvFieldNotNull(versions, version, VERSION_EXPIRED));
}

/*
 * Delete the versions that end; false if one of them is not ours to delete.
 */
static bool
EndVersions(Tables *tables, const HvAppend *append)
{
	HvScan	   *versions = &tables->versions.scan;
	HeapTuple	version;
	bool		free = true;

	HvBeginScan(versions, GetActiveSnapshot(), 1, &append->id);
	while (free && (version = HvNextRow(versions)) != NULL)
	{
		if (DatumGetInt64(HvFieldNotNull(versions, version, VERSION_NUMBER)) > append->expected_version ||
			!Ends(versions, version, GetCurrentTimestamp()))
			continue;
		free = HvLockRow(&tables->versions, version, LockTupleExclusive);
		if (free)
			HvDeleteRow(&tables->versions, version);
	}
	HvEndScan(versions);
	return free;
}

/*
 * When a version is deleted by itself, by the settings of its secret.
 */
static NullableDatum
DeleteAt(Tables *tables, TimestampTz created_at)
{
	NullableDatum at;
	Datum		secs = HvField(&tables->secrets.scan, tables->secret, SECRET_DELETE_AFTER, &at.isnull);

	at.value = at.isnull ? (Datum) 0 : TimestampTzGetDatum(created_at + DatumGetInt64(secs) * USECS_PER_SEC);
	return at;
}

static void
InsertVersion(Tables *tables, const HvAppend *append, int64 version, TimestampTz created_at)
{
	NullableDatum values[VERSION_COLUMNS] = {
		[VERSION_SECRET] = NotNull(append->id),
		[VERSION_NUMBER] = NotNull(Int64GetDatum(version)),
		[VERSION_CREATED_AT] = NotNull(TimestampTzGetDatum(created_at)),
		[VERSION_EXPIRES_AT] = {(Datum) 0, true},
		[VERSION_EXPIRED] = NotNull(BoolGetDatum(false)),
		[VERSION_DELETE_AT] = DeleteAt(tables, created_at),
	};

	memcpy(&values[VERSION_SEALED], append->sealed, sizeof(append->sealed));
	HvInsertRow(&tables->versions, values);
}

/*
 * The columns of the secret that have the names of the result's, with what has changed. Palloc'd.
 */
static HeapTuple
MakeInfo(Tables *tables, TupleDesc result, const NullableDatum *changed)
{
	Datum	   *values = palloc_array(Datum, result->natts);
	bool	   *nulls = palloc_array(bool, result->natts);
	TupleDesc	desc = RelationGetDescr(tables->secrets.scan.heap);

	for (int i = 0; i < result->natts; i++)
	{
		AttrNumber	number = get_attnum(RelationGetRelid(tables->secrets.scan.heap), NameStr(TupleDescAttr(result, i)->attname));

		if (number == InvalidAttrNumber)
			elog(ERROR, "table vault.secrets has no column \"%s\"", NameStr(TupleDescAttr(result, i)->attname));
		values[i] = heap_getattr(tables->secret, number, desc, &nulls[i]);
		if (number == secrets_table.numbers[SECRET_CURRENT])
			values[i] = changed[0].value;
		else if (number == secrets_table.numbers[SECRET_UPDATED_AT])
			values[i] = changed[1].value;
	}
	return heap_form_tuple(result, values, nulls);
}

/*
 * Make the change of a secret that is locked.
 */
static void
WriteChange(Tables *tables, const HvAppend *append, TupleDesc result, HeapTuple *info)
{
	static const int columns[] = {SECRET_CURRENT, SECRET_UPDATED_AT};
	TimestampTz now = GetCurrentTimestamp();	/* after the lock: versions of a secret are stamped in their order */
	int64		version = append->expected_version + 1;
	NullableDatum changed[] = {NotNull(Int64GetDatum(version)), NotNull(TimestampTzGetDatum(now))};

	HvUpdateRow(&tables->secrets, tables->secret, lengthof(columns), columns, changed);
	InsertVersion(tables, append, version, now);
	HvNoteChanged(&tables->notes, append->origin, append->action, SecretField(tables, SECRET_NAME), version,
				  (NullableDatum) {(Datum) 0, true});
	if (result != NULL)
		*info = MakeInfo(tables, result, changed);
}

/*
 * Make a sealed value the current version of a secret, if that is of the usual kind, and return the columns that the result
 * has. False if a statement has to: what it finds done it would have done as well.
 */
bool
HvAppendDirectly(const HvAppend *append, TupleDesc result, HeapTuple *info)
{
	Tables		tables;
	HvWrites	writes;
	bool		done;

	if (!OpenTables(&tables))
		return false;
	HvBeginWrites(&writes);
	done = LockOrdinary(&tables, append) && HvOpenRecord(&tables.notes) && EndVersions(&tables, append);
	if (done)
		WriteChange(&tables, append, result, info);
	CloseTables(&tables, done);
	HvEndWrites(&writes);
	return done;
}

enum Argument
{
	ID, EXPECTED_VERSION, SEALED, ACTION, SETTINGS, RESCHEDULE, ORIGIN
};

/*
 * Take a row of one of our types apart; all is null of one that is null.
 */
static void
TakeRow(NullableDatum argument, NullableDatum *values, int n)
{
	HeapTupleHeader row;
	bool		isnull;

	for (int i = 0; i < n; i++)
		values[i] = (NullableDatum) {(Datum) 0, true};
	if (argument.isnull)
		return;
	row = DatumGetHeapTupleHeader(argument.value);
	for (int i = 0; i < n; i++)
	{
		values[i].value = GetAttributeByNum(row, i + 1, &isnull);
		values[i].isnull = isnull;
	}
}

/*
 * Whether a row has no field that is not null, as IS NULL finds it.
 */
static bool
HasNoField(NullableDatum argument)
{
	NullableDatum values[HV_SETTINGS];

	TakeRow(argument, values, HV_SETTINGS);
	for (int i = 0; i < HV_SETTINGS; i++)
		if (!values[i].isnull)
			return false;
	return true;
}

static void
CheckAction(NullableDatum action)
{
	const char *given = action.isnull ? "" : TextDatumGetCString(action.value);

	if (strcmp(given, "update") != 0 && strcmp(given, "rotate") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("action must be update or rotate")));
}

/*
 * Call vault.append_anyhow() with the same arguments.
 */
static Datum
AppendAnyhow(FunctionCallInfo fcinfo)
{
	LOCAL_FCINFO(called, FUNC_MAX_ARGS);
	FmgrInfo	function;
	Oid		   *types;
	int			n;
	Datum		result;

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	fmgr_info(HvFunction("append_anyhow", types, n), &function);
	InitFunctionCallInfoData(*called, &function, n, InvalidOid, NULL, NULL);
	for (int i = 0; i < n; i++)
		called->args[i] = fcinfo->args[i];
	result = FunctionCallInvoke(called);
	fcinfo->isnull = called->isnull;
	return result;
}

PG_FUNCTION_INFO_V1(hv_append_version);

/*
 * Arguments: id, expected_version, sealed, action, settings, reschedule, origin.
 */
Datum
hv_append_version(PG_FUNCTION_ARGS)
{
	HvAppend	append;
	TupleDesc	result;
	HeapTuple	info;

	CheckAction(Arg(fcinfo, ACTION));
	if (PG_ARGISNULL(ID) || PG_ARGISNULL(EXPECTED_VERSION) || (!PG_ARGISNULL(RESCHEDULE) && PG_GETARG_BOOL(RESCHEDULE)) ||
		!HasNoField(Arg(fcinfo, SETTINGS)))
		return AppendAnyhow(fcinfo);
	HvRequireWritable();
	if (get_call_result_type(fcinfo, NULL, &result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	append.id = PG_GETARG_DATUM(ID);
	append.expected_version = PG_GETARG_INT64(EXPECTED_VERSION);
	append.action = PG_GETARG_DATUM(ACTION);
	TakeRow(Arg(fcinfo, SEALED), append.sealed, HV_SEALED_COLUMNS);
	TakeRow(Arg(fcinfo, ORIGIN), append.origin, HV_ORIGIN_COLUMNS);
	if (!HvAppendDirectly(&append, BlessTupleDesc(result), &info))
		return AppendAnyhow(fcinfo);
	return HeapTupleGetDatum(info);
}
