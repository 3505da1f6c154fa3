/*
 * supersede.c: makes a sealed value the current version of a secret, without a statement.
 *
 * What most changes are is done here: only the value changes, and the secret has no deleted version. The rest, and
 * every refusal, is vault.append_anyhow()'s, whose vault.supersede() is the definition. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "boundrole.h"
#include "catalog/pg_type.h"
#include "changetables.h"
#include "supersede.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

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

HvTable		HvVersionsTable = {
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

/* what a change writes to, the secret, and when it was locked: versions of a secret are stamped in their order */
typedef struct Tables
{
	HvChangeTables written;
	HvRoles		roles;			/* if the secret is bound */
	bool		bound;
	bool		started;		/* something is written */
	HeapTuple	secret;
	TimestampTz stamp;
} Tables;

static void
CloseTables(Tables *tables, bool done)
{
	HvEndScan(&tables->written.secrets.scan);
	if (tables->bound && done)
		HvCloseRoles(&tables->roles);
	else if (tables->bound)
		HvReleaseRoles(&tables->roles);
	HvCloseChangeTables(&tables->written, done);
}

static Datum
SecretField(Tables *tables, int column)
{
	return HvFieldNotNull(&tables->written.secrets.scan, tables->secret, column);
}

/*
 * Whether the secret is one whose value can be changed here, at the expected version.
 */
static bool
IsOrdinary(Tables *tables, int64 expected_version)
{
	bool		present;

	(void) HvField(&tables->written.secrets.scan, tables->secret, SECRET_DELETED_AT, &present);
	return present && DatumGetInt64(SecretField(tables, SECRET_CURRENT)) == expected_version &&
		!DatumGetBool(SecretField(tables, SECRET_HAS_DELETED));
}

static LockWaitPolicy
WaitOf(const HvAppend *append)
{
	return append->at_once ? LockWaitSkip : LockWaitBlock;
}

/*
 * Find the secret and lock it; false if it has to be changed by a statement.
 */
static bool
LockOrdinary(Tables *tables, const HvAppend *append)
{
	HvBeginScan(&tables->written.secrets.scan, GetActiveSnapshot(), 1, &append->id);
	tables->secret = HvNextRow(&tables->written.secrets.scan);
	if (tables->secret == NULL || !IsOrdinary(tables, append->expected_version) ||
		!HvLockRowOr(&tables->written.secrets, tables->secret, LockTupleNoKeyExclusive, WaitOf(append)))
		return false;
	tables->stamp = GetCurrentTimestamp();
	return true;
}

/*
 * Open the roles of a secret that is bound; false if they take a statement.
 */
static bool
OpenRoles(Tables *tables, const HvAppend *append)
{
	HvBytes		id = {DatumGetUUIDP(append->id)->data, HV_ID_LEN};

	if (!DatumGetBool(SecretField(tables, SECRET_BOUND)))
		return true;
	tables->bound = HvOpenRoles(&tables->roles, id, append->expected_version + 1, WaitOf(append));
	return tables->bound;
}

/*
 * When a version ends that another takes the place of: null if it has no end. The current one gets a grace, or one that
 * does not matter because it is kept.
 */
static NullableDatum
EndOf(Tables *tables, HeapTuple version, bool current)
{
	int64		grace = DatumGetInt64(SecretField(tables, SECRET_GRACE));
	NullableDatum end;

	if (current && (grace > 0 || DatumGetInt32(SecretField(tables, SECRET_KEEP)) > 0))
		return HvNotNull(TimestampTzGetDatum(tables->stamp + grace * USECS_PER_SEC));
	end.value = HvField(&tables->written.versions.scan, version, VERSION_EXPIRES_AT, &end.isnull);
	return end;
}

/*
 * Whether a version that is not kept is deleted: it has ended, or never gets an end.
 */
static bool
IsOver(Tables *tables, HeapTuple version, NullableDatum end)
{
	if (DatumGetBool(HvFieldNotNull(&tables->written.versions.scan, version, VERSION_EXPIRED)))
		return true;
	if (end.isnull)
		return DatumGetInt64(SecretField(tables, SECRET_GRACE)) == 0;
	return DatumGetTimestampTz(end.value) <= GetCurrentTimestamp();
}

/*
 * Lock a version; false if it is not ours to change. A change at once that has started fails then, because it cannot be left
 * to a statement.
 */
static bool
LockVersion(Tables *tables, const HvAppend *append, HeapTuple version, LockTupleMode mode)
{
	bool		ours = HvLockRowOr(&tables->written.versions, version, mode, WaitOf(append));

	if (!ours && append->at_once && tables->started)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("a version of the secret is in use by another transaction")));
	tables->started = true;
	return ours;
}

/*
 * Delete a version that a new one takes the place of, or have it end; false if it is not ours to change.
 */
static bool
EndVersion(Tables *tables, const HvAppend *append, HeapTuple version)
{
	static const int columns[] = {VERSION_EXPIRES_AT};
	int64		current = append->expected_version;
	int64		number = DatumGetInt64(HvFieldNotNull(&tables->written.versions.scan, version, VERSION_NUMBER));
	NullableDatum end = EndOf(tables, version, number == current);
	bool		kept = number > current - DatumGetInt32(SecretField(tables, SECRET_KEEP));

	if (number > current)
		return true;
	if (!kept && IsOver(tables, version, end))
	{
		if (!LockVersion(tables, append, version, LockTupleExclusive))
			return false;
		HvDeleteRow(&tables->written.versions, version);
	}
	else if (number == current && !end.isnull)
	{
		if (!LockVersion(tables, append, version, LockTupleNoKeyExclusive))
			return false;
		HvUpdateRow(&tables->written.versions, version, lengthof(columns), columns, &end);
	}
	return true;
}

/*
 * Do that with all versions of the secret.
 */
static bool
EndVersions(Tables *tables, const HvAppend *append)
{
	HvScan	   *versions = &tables->written.versions.scan;
	HeapTuple	version;
	bool		ours = true;

	HvBeginScan(versions, GetActiveSnapshot(), 1, &append->id);
	while (ours && (version = HvNextRow(versions)) != NULL)
		ours = EndVersion(tables, append, version);
	HvEndScan(versions);
	return ours;
}

/*
 * Insert a sealed version of a secret.
 */
void
HvInsertVersion(HvTarget *versions, Datum id, int64 version, const NullableDatum *sealed, TimestampTz created_at,
				NullableDatum delete_after_secs)
{
	NullableDatum values[VERSION_COLUMNS] = {
		[VERSION_SECRET] = HvNotNull(id),
		[VERSION_NUMBER] = HvNotNull(Int64GetDatum(version)),
		[VERSION_CREATED_AT] = HvNotNull(TimestampTzGetDatum(created_at)),
		[VERSION_EXPIRES_AT] = {(Datum) 0, true},
		[VERSION_EXPIRED] = HvNotNull(BoolGetDatum(false)),
		[VERSION_DELETE_AT] = {(Datum) 0, true},
	};

	if (!delete_after_secs.isnull)
		values[VERSION_DELETE_AT] = HvNotNull(TimestampTzGetDatum(created_at + DatumGetInt64(delete_after_secs.value) * USECS_PER_SEC));
	memcpy(&values[VERSION_SEALED], sealed, HV_SEALED_COLUMNS * sizeof(NullableDatum));
	HvInsertRow(versions, values);
}

/*
 * The columns of the secret that have the names of the result's, with what has changed. Palloc'd.
 */
static HeapTuple
MakeInfo(Tables *tables, TupleDesc result, const NullableDatum *changed)
{
	Datum	   *values = palloc_array(Datum, result->natts);
	bool	   *nulls = palloc_array(bool, result->natts);
	TupleDesc	desc = RelationGetDescr(tables->written.secrets.scan.heap);

	for (int i = 0; i < result->natts; i++)
	{
		AttrNumber	number = get_attnum(RelationGetRelid(tables->written.secrets.scan.heap), NameStr(TupleDescAttr(result, i)->attname));

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
	int64		version = append->expected_version + 1;
	NullableDatum delete_after;
	NullableDatum changed[] = {HvNotNull(Int64GetDatum(version)), HvNotNull(TimestampTzGetDatum(tables->stamp))};
	NullableDatum details = {(Datum) 0, true};

	delete_after.value = HvField(&tables->written.secrets.scan, tables->secret, SECRET_DELETE_AFTER, &delete_after.isnull);
	HvUpdateRow(&tables->written.secrets, tables->secret, lengthof(columns), columns, changed);
	HvInsertVersion(&tables->written.versions, append->id, version, append->sealed, tables->stamp, delete_after);
	if (tables->bound)
		details = HvNotNull(HvGivePassword(&tables->roles, version, tables->stamp, DatumGetInt64(SecretField(tables, SECRET_GRACE))));
	HvNoteChanged(&tables->written.notes, append->origin, append->action, SecretField(tables, SECRET_NAME), version, details);
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

	tables.bound = tables.started = false;
	if (!HvOpenChangeTables(&secrets_table, &tables.written))
		return false;
	HvBeginWrites(&writes);
	done = LockOrdinary(&tables, append) && HvOpenRecord(&tables.written.notes) && OpenRoles(&tables, append) && EndVersions(&tables, append);
	if (done)
		WriteChange(&tables, append, result, info);
	CloseTables(&tables, done);
	HvEndWrites(&writes);
	return done;
}
