/*
 * create.c: stores a new secret and its first version without a statement.
 *
 * It does what vault.create_anyhow() does for a secret with usual settings. That function has the rest, and the words of
 * every refusal. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "changetables.h"
#include "create.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum SecretColumn
{
	SECRET_NAME, SECRET_FIRST, SECRET_ID, SECRET_KIND, SECRET_CONTENT_TYPE, SECRET_DESCRIPTION, SECRET_TAGS, SECRET_INTERVAL,
	SECRET_SCHEDULE, SECRET_TIME_ZONE, SECRET_WINDOW, SECRET_PAUSED, SECRET_GRACE, SECRET_KEEP, SECRET_POLICY, SECRET_CURRENT,
	SECRET_REVISION, SECRET_NEXT_ROTATION_AT, SECRET_CREATED_AT, SECRET_UPDATED_AT, SECRET_DELETED_AT, SECRET_CAS_REQUIRED,
	SECRET_DELETE_AFTER, SECRET_HAS_DELETED, SECRET_BOUND, SECRET_COLUMNS
};

/* found by name and first version; what is not here has no default, and is null */
static HvTable secrets_table = {
	"secrets", "secrets_first_version_key", NULL, 2,
	{
		[SECRET_NAME] = {"name", TEXTOID},
		[SECRET_FIRST] = {"first_version", INT8OID},
		[SECRET_ID] = {"id", UUIDOID},
		[SECRET_KIND] = {"kind", TEXTOID},
		[SECRET_CONTENT_TYPE] = {"content_type", TEXTOID},
		[SECRET_DESCRIPTION] = {"description", TEXTOID},
		[SECRET_TAGS] = {"tags", JSONBOID},
		[SECRET_INTERVAL] = {"rotation_interval_secs", INT8OID},
		[SECRET_SCHEDULE] = {"rotation_schedule", TEXTOID},
		[SECRET_TIME_ZONE] = {"rotation_time_zone", TEXTOID},
		[SECRET_WINDOW] = {"rotation_window_secs", INT8OID},
		[SECRET_PAUSED] = {"rotation_paused", BOOLOID},
		[SECRET_GRACE] = {"grace_period_secs", INT8OID},
		[SECRET_KEEP] = {"keep_versions", INT4OID},
		[SECRET_POLICY] = {"generate_policy", JSONBOID},
		[SECRET_CURRENT] = {"current_version", INT8OID},
		[SECRET_REVISION] = {"settings_revision", INT8OID},
		[SECRET_NEXT_ROTATION_AT] = {"next_rotation_at", TIMESTAMPTZOID},
		[SECRET_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
		[SECRET_UPDATED_AT] = {"updated_at", TIMESTAMPTZOID},
		[SECRET_DELETED_AT] = {"deleted_at", TIMESTAMPTZOID},
		[SECRET_CAS_REQUIRED] = {"cas_required", BOOLOID},
		[SECRET_DELETE_AFTER] = {"delete_version_after_secs", INT8OID},
		[SECRET_HAS_DELETED] = {"has_deleted", BOOLOID},
		[SECRET_BOUND] = {"bound", BOOLOID},
	},
	.inserted = true
};

static const NullableDatum null = {(Datum) 0, true};

/*
 * The version at which a new secret of a name begins, as vault.first_version() has it; 0 if the name is taken.
 */
static int64
FirstVersion(HvScan *secrets, Datum name)
{
	HeapTuple	last;
	int64		used = 0;
	bool		present = false;

	HvBeginScan(secrets, GetActiveSnapshot(), 1, &name);
	last = HvLastRow(secrets);
	if (last != NULL)
	{
		used = Max(DatumGetInt64(HvFieldNotNull(secrets, last, SECRET_CURRENT)),
				   DatumGetInt64(HvFieldNotNull(secrets, last, SECRET_FIRST)));
		(void) HvField(secrets, last, SECRET_DELETED_AT, &present);
	}
	HvEndScan(secrets);
	return present ? 0 : used + 1;
}

/*
 * Find the version at which a new secret of a name begins; false if a statement has to, or to say that the name is taken.
 */
bool
HvFindFirstVersion(Datum name, int64 *version)
{
	HvScan		secrets;

	if (!HvOpenTable(&secrets_table, &secrets))
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	*version = FirstVersion(&secrets, name);
	PopActiveSnapshot();
	HvCloseTable(&secrets);
	return *version != 0;
}

/*
 * Whether a transaction that has not ended inserts, changes or deletes a secret of the name, for which an insertion waits.
 */
static bool
IsContested(HvScan *secrets, Datum name)
{
	SnapshotData dirty;
	bool		contested = false;

	InitDirtySnapshot(dirty);
	HvBeginScan(secrets, &dirty, 1, &name);
	while (!contested && HvNextRow(secrets) != NULL)
		contested = TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax);
	HvEndScan(secrets);
	return contested;
}

static NullableDatum
OrDefault(NullableDatum setting, Datum given)
{
	return setting.isnull ? HvNotNull(given) : setting;
}

/*
 * A setting that 0 says is none.
 */
static NullableDatum
OrNone(NullableDatum setting)
{
	return setting.isnull || DatumGetInt64(setting.value) == 0 ? null : setting;
}

/*
 * Give the columns that hold settings their values. A schedule's next time is computed later.
 */
static void
SetSettings(NullableDatum *values, const HvCreation *creation, TimestampTz now)
{
	const NullableDatum *given = creation->settings.values;
	NullableDatum interval = given[HV_ROTATION_INTERVAL];

	values[SECRET_DESCRIPTION] = OrDefault(given[HV_DESCRIPTION], CStringGetTextDatum(""));
	values[SECRET_TAGS] = OrDefault(given[HV_TAGS], DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	values[SECRET_INTERVAL] = interval;
	values[SECRET_SCHEDULE] = given[HV_ROTATION_SCHEDULE];
	values[SECRET_TIME_ZONE] = OrDefault(given[HV_ROTATION_TIME_ZONE], CStringGetTextDatum("UTC"));
	values[SECRET_WINDOW] = OrNone(given[HV_ROTATION_WINDOW]);
	values[SECRET_PAUSED] = OrDefault(given[HV_ROTATION_PAUSED], BoolGetDatum(false));
	values[SECRET_GRACE] = OrDefault(given[HV_GRACE_PERIOD], Int64GetDatum(0));
	values[SECRET_KEEP] = OrDefault(given[HV_KEEP_VERSIONS], Int32GetDatum(0));
	values[SECRET_POLICY] = given[HV_GENERATE_POLICY];
	values[SECRET_NEXT_ROTATION_AT] = interval.isnull ? null
		: HvNotNull(TimestampTzGetDatum(now + DatumGetInt64(interval.value) * USECS_PER_SEC));
	values[SECRET_CAS_REQUIRED] = OrDefault(creation->more[HV_CAS_REQUIRED], BoolGetDatum(false));
	values[SECRET_DELETE_AFTER] = OrNone(creation->more[HV_DELETE_AFTER]);
}

/*
 * Insert the row of the secret, and return it if row is not NULL. False if there is one of this name and first version.
 */
static bool
InsertSecret(HvChangeTables *tables, const HvCreation *creation, TimestampTz now, HeapTuple *row)
{
	NullableDatum values[SECRET_COLUMNS] = {
		[SECRET_NAME] = HvNotNull(creation->name),
		[SECRET_FIRST] = HvNotNull(Int64GetDatum(creation->version)),
		[SECRET_ID] = HvNotNull(creation->id),
		[SECRET_KIND] = HvNotNull(creation->kind),
		[SECRET_CONTENT_TYPE] = HvNotNull(creation->content_type),
		[SECRET_CURRENT] = HvNotNull(Int64GetDatum(creation->version)),
		[SECRET_REVISION] = HvNotNull(Int64GetDatum(1)),
		[SECRET_CREATED_AT] = HvNotNull(TimestampTzGetDatum(now)),
		[SECRET_UPDATED_AT] = HvNotNull(TimestampTzGetDatum(now)),
		[SECRET_DELETED_AT] = null,
		[SECRET_HAS_DELETED] = HvNotNull(BoolGetDatum(false)),
		[SECRET_BOUND] = HvNotNull(BoolGetDatum(false)),
	};

	SetSettings(values, creation, now);
	return HvInsertUnlessThere(&tables->secrets, values, row);
}

/*
 * The column of the table, by its name; one that is not there is an error.
 */
static int
ColumnNamed(const char *name)
{
	for (int i = 0; i < SECRET_COLUMNS; i++)
		if (strcmp(secrets_table.columns[i].name, name) == 0)
			return i;
	elog(ERROR, "no column \"%s\" of table vault.secrets is known", name);
}

/*
 * Whether a secret of the name begins at its version, and an insertion of it has nothing to wait for if it must not.
 */
static bool
CanBegin(HvScan *secrets, const HvCreation *creation)
{
	return FirstVersion(secrets, creation->name) == creation->version &&
		!(creation->at_once && IsContested(secrets, creation->name));
}

/*
 * The columns of a row that the result has. Palloc'd.
 */
static HeapTuple
MakeState(HvScan *secrets, HeapTuple row, TupleDesc result)
{
	Datum	   *values = palloc_array(Datum, result->natts);
	bool	   *nulls = palloc_array(bool, result->natts);

	for (int i = 0; i < result->natts; i++)
		values[i] = HvField(secrets, row, ColumnNamed(NameStr(TupleDescAttr(result, i)->attname)), &nulls[i]);
	return heap_form_tuple(result, values, nulls);
}

/*
 * Store a new secret with its sealed first version, and return the columns that the result has, if that is not NULL. False if
 * a statement has to, or to refuse it: nothing is written then.
 */
bool
HvCreateDirectly(const HvCreation *creation, TupleDesc result, HeapTuple *state)
{
	HvChangeTables tables;
	HvWrites	writes;
	HeapTuple	row;
	TimestampTz now = GetCurrentTimestamp();
	bool		done;

	if (!HvOpenChangeTables(&secrets_table, &tables))
		return false;
	HvBeginWrites(&writes);
	done = tables.secrets.scan.index->rd_index->indisunique && HvOpenRecord(&tables.notes) &&
		CanBegin(&tables.secrets.scan, creation) && InsertSecret(&tables, creation, now, result == NULL ? NULL : &row);
	if (done)
	{
		HvInsertVersion(&tables.versions, creation->id, creation->version, creation->sealed, now, OrNone(creation->more[HV_DELETE_AFTER]));
		HvNoteChanged(&tables.notes, creation->origin, CStringGetTextDatum("create"), creation->name, creation->version, null);
		if (result != NULL)
			*state = MakeState(&tables.secrets.scan, row, result);
	}
	HvCloseChangeTables(&tables, done);
	HvEndWrites(&writes);
	return done;
}
