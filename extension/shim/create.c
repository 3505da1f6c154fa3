/*
 * create.c: stores a new secret and its first version without a statement.
 *
 * It does what vault.store_secret() does for a manual secret with few settings. That function has the rest, and the
 * words of every refusal. A test compares the two.
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
 * Insert the row of the secret; false if there is one of this name and first version.
 */
static bool
InsertSecret(HvChangeTables *tables, const HvCreation *creation, TimestampTz now)
{
	NullableDatum values[SECRET_COLUMNS] = {
		[SECRET_NAME] = HvNotNull(creation->name),
		[SECRET_FIRST] = HvNotNull(Int64GetDatum(creation->version)),
		[SECRET_ID] = HvNotNull(creation->id),
		[SECRET_KIND] = HvNotNull(CStringGetTextDatum("manual")),
		[SECRET_CONTENT_TYPE] = HvNotNull(creation->content_type),
		[SECRET_DESCRIPTION] = HvNotNull(creation->description),
		[SECRET_TAGS] = HvNotNull(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))),
		[SECRET_GRACE] = HvNotNull(Int64GetDatum(creation->grace_period_secs)),
		[SECRET_TIME_ZONE] = HvNotNull(CStringGetTextDatum("UTC")),
		[SECRET_PAUSED] = HvNotNull(BoolGetDatum(false)),
		[SECRET_KEEP] = HvNotNull(Int32GetDatum(creation->keep_versions)),
		[SECRET_CURRENT] = HvNotNull(Int64GetDatum(creation->version)),
		[SECRET_REVISION] = HvNotNull(Int64GetDatum(1)),
		[SECRET_CREATED_AT] = HvNotNull(TimestampTzGetDatum(now)),
		[SECRET_UPDATED_AT] = HvNotNull(TimestampTzGetDatum(now)),
		[SECRET_DELETED_AT] = {(Datum) 0, true},
		[SECRET_CAS_REQUIRED] = HvNotNull(BoolGetDatum(false)),
		[SECRET_HAS_DELETED] = HvNotNull(BoolGetDatum(false)),
		[SECRET_BOUND] = HvNotNull(BoolGetDatum(false)),
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
	HvChangeTables tables;
	HvWrites	writes;
	TimestampTz now = GetCurrentTimestamp();
	bool		done;

	if (!HvOpenChangeTables(&secrets_table, &tables))
		return false;
	HvBeginWrites(&writes);
	done = tables.secrets.scan.index->rd_index->indisunique && HvOpenRecord(&tables.notes) &&
		FirstVersion(&tables.secrets.scan, creation->name) == creation->version && InsertSecret(&tables, creation, now);
	if (done)
	{
		HvInsertVersion(&tables.versions, creation->id, creation->version, creation->sealed, now, null);
		HvNoteChanged(&tables.notes, creation->origin, CStringGetTextDatum("create"), creation->name, creation->version, null);
	}
	HvCloseChangeTables(&tables, done);
	HvEndWrites(&writes);
	return done;
}
