/*
 * create.c: stores a new secret and its first version without a statement.
 *
 * It does what vault.store_secret() does for a manual secret with few settings. That function has the rest, and the
 * words of every refusal. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "create.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum SecretColumn
{
	SECRET_NAME, SECRET_FIRST, SECRET_ID, SECRET_KIND, SECRET_CONTENT_TYPE, SECRET_DESCRIPTION, SECRET_TAGS, SECRET_GRACE,
	SECRET_TIME_ZONE, SECRET_PAUSED, SECRET_KEEP, SECRET_CURRENT, SECRET_REVISION, SECRET_CREATED_AT, SECRET_UPDATED_AT,
	SECRET_DELETED_AT, SECRET_CAS_REQUIRED, SECRET_HAS_DELETED, SECRET_BOUND, SECRET_COLUMNS
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
		[SECRET_GRACE] = {"grace_period_secs", INT8OID},
		[SECRET_TIME_ZONE] = {"rotation_time_zone", TEXTOID},
		[SECRET_PAUSED] = {"rotation_paused", BOOLOID},
		[SECRET_KEEP] = {"keep_versions", INT4OID},
		[SECRET_CURRENT] = {"current_version", INT8OID},
		[SECRET_REVISION] = {"settings_revision", INT8OID},
		[SECRET_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
		[SECRET_UPDATED_AT] = {"updated_at", TIMESTAMPTZOID},
		[SECRET_DELETED_AT] = {"deleted_at", TIMESTAMPTZOID},
		[SECRET_CAS_REQUIRED] = {"cas_required", BOOLOID},
		[SECRET_HAS_DELETED] = {"has_deleted", BOOLOID},
		[SECRET_BOUND] = {"bound", BOOLOID},
	},
	.inserted = true
};

/* what a creation writes to */
typedef struct Tables
{
	HvTarget	secrets;
	HvTarget	versions;
	HvNotes		notes;
} Tables;

static NullableDatum
NotNull(Datum value)
{
	return (NullableDatum) {value, false};
}

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

static bool
OpenTables(Tables *tables)
{
	if (!HvOpenTarget(&secrets_table, &tables->secrets))
		return false;
	if (tables->secrets.scan.index->rd_index->indisunique && HvOpenTarget(&HvVersionsTable, &tables->versions))
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

/*
 * Insert the row of the secret; false if there is one of this name and first version.
 */
static bool
InsertSecret(Tables *tables, const HvCreation *creation, TimestampTz now)
{
	NullableDatum values[SECRET_COLUMNS] = {
		[SECRET_NAME] = NotNull(creation->name),
		[SECRET_FIRST] = NotNull(Int64GetDatum(creation->version)),
		[SECRET_ID] = NotNull(creation->id),
		[SECRET_KIND] = NotNull(CStringGetTextDatum("manual")),
		[SECRET_CONTENT_TYPE] = NotNull(creation->content_type),
		[SECRET_DESCRIPTION] = NotNull(creation->description),
		[SECRET_TAGS] = NotNull(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))),
		[SECRET_GRACE] = NotNull(Int64GetDatum(creation->grace_period_secs)),
		[SECRET_TIME_ZONE] = NotNull(CStringGetTextDatum("UTC")),
		[SECRET_PAUSED] = NotNull(BoolGetDatum(false)),
		[SECRET_KEEP] = NotNull(Int32GetDatum(creation->keep_versions)),
		[SECRET_CURRENT] = NotNull(Int64GetDatum(creation->version)),
		[SECRET_REVISION] = NotNull(Int64GetDatum(1)),
		[SECRET_CREATED_AT] = NotNull(TimestampTzGetDatum(now)),
		[SECRET_UPDATED_AT] = NotNull(TimestampTzGetDatum(now)),
		[SECRET_DELETED_AT] = {(Datum) 0, true},
		[SECRET_CAS_REQUIRED] = NotNull(BoolGetDatum(false)),
		[SECRET_HAS_DELETED] = NotNull(BoolGetDatum(false)),
		[SECRET_BOUND] = NotNull(BoolGetDatum(false)),
	};

	return HvInsertUnlessThere(&tables->secrets, values);
}

/*
 * Store a new secret with its sealed first version. False if a statement has to, or to refuse it: nothing is written then.
 */
bool
HvCreateDirectly(const HvCreation *creation)
{
	static const NullableDatum null = {(Datum) 0, true};
	Tables		tables;
	HvWrites	writes;
	TimestampTz now = GetCurrentTimestamp();
	bool		done;

	if (!OpenTables(&tables))
		return false;
	HvBeginWrites(&writes);
	done = HvOpenRecord(&tables.notes) && FirstVersion(&tables.secrets.scan, creation->name) == creation->version &&
		InsertSecret(&tables, creation, now);
	if (done)
	{
		HvInsertVersion(&tables.versions, creation->id, creation->version, creation->sealed, now, null);
		HvNoteChanged(&tables.notes, creation->origin, CStringGetTextDatum("create"), creation->name, creation->version, null);
	}
	CloseTables(&tables, done);
	HvEndWrites(&writes);
	return done;
}
