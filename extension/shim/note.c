/*
 * note.c: notes a change as vault.note_change() does, without a statement.
 *
 * The audit record goes to the part of the log that vault.audit_numbering names.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "note.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#define UUID_TEXT_LEN	36
#define ACTOR_SEPARATOR	"\x1f"

enum NumberingColumn
{
	NUMBERING_ONLY_ROW, NUMBERING_PART
};

static HvTable numbering_table = {
	"audit_numbering", "audit_numbering_pkey", NULL, 1,
	{
		[NUMBERING_ONLY_ROW] = {"only_row", BOOLOID},
		[NUMBERING_PART] = {"part", INT2OID},
	}
};

enum ChangeColumn
{
	CHANGE_XID, CHANGE_ID, CHANGE_AT, CHANGE_ACTION, CHANGE_NAME, CHANGE_VERSION, CHANGE_COLUMNS
};

static HvTable changes_table = {
	"changes", NULL, NULL, 0,
	{
		[CHANGE_XID] = {"xid", XID8OID},
		[CHANGE_ID] = {"id", INT8OID},
		[CHANGE_AT] = {"at", TIMESTAMPTZOID},
		[CHANGE_ACTION] = {"action", TEXTOID},
		[CHANGE_NAME] = {"name", TEXTOID},
		[CHANGE_VERSION] = {"version", INT8OID},
	},
	.inserted = true
};

enum RecordColumn
{
	RECORD_ID, RECORD_AT, RECORD_NODE, RECORD_ACTOR, RECORD_SESSION_ROLE, RECORD_CLIENT_IP, RECORD_ACTION, RECORD_NAME,
	RECORD_VERSION, RECORD_OUTCOME, RECORD_CODE, RECORD_REQUEST_ID, RECORD_JOURNAL, RECORD_SEQUENCE, RECORD_DETAILS,
	RECORD_ACCESSOR, RECORD_METHOD, RECORD_PART, RECORD_COLUMNS
};

static char part_name[NAMEDATALEN];
static HvTable record_table = {
	part_name, NULL, NULL, 0,
	{
		[RECORD_ID] = {"id", INT8OID},
		[RECORD_AT] = {"at", TIMESTAMPTZOID},
		[RECORD_NODE] = {"node", TEXTOID},
		[RECORD_ACTOR] = {"actor", TEXTOID},
		[RECORD_SESSION_ROLE] = {"session_role", TEXTOID},
		[RECORD_CLIENT_IP] = {"client_ip", INETOID},
		[RECORD_ACTION] = {"action", TEXTOID},
		[RECORD_NAME] = {"secret_name", TEXTOID},
		[RECORD_VERSION] = {"version", INT8OID},
		[RECORD_OUTCOME] = {"outcome", TEXTOID},
		[RECORD_CODE] = {"code", TEXTOID},
		[RECORD_REQUEST_ID] = {"request_id", TEXTOID},
		[RECORD_JOURNAL] = {"journal", UUIDOID},
		[RECORD_SEQUENCE] = {"sequence", INT8OID},
		[RECORD_DETAILS] = {"details", JSONBOID},
		[RECORD_ACCESSOR] = {"accessor", UUIDOID},
		[RECORD_METHOD] = {"method", TEXTOID},
		[RECORD_PART] = {"part", INT2OID},
	},
	.root = "audit_log",
	.inserted = true
};
static int16 record_part = -1;	/* of the name above */

static const NullableDatum null = {(Datum) 0, true};

/*
 * Open the tables that a change is noted in, but for the record; false if they are not as expected.
 */
bool
HvOpenNotes(HvNotes *notes)
{
	notes->record = (HvTarget) {.table = NULL};
	if (!HvOpenTable(&numbering_table, &notes->numbering))
		return false;
	if (HvOpenTarget(&changes_table, &notes->changes))
		return true;
	HvReleaseTable(&notes->numbering);
	return false;
}

void
HvCloseNotes(HvNotes *notes)
{
	HvCloseTable(&notes->numbering);
	HvCloseTarget(&notes->changes);
	HvCloseTarget(&notes->record);
}

/*
 * Close what nothing is written to after all, and give its locks back.
 */
void
HvReleaseNotes(HvNotes *notes)
{
	HvReleaseTable(&notes->numbering);
	HvReleaseTarget(&notes->changes);
	if (notes->record.table != NULL)
		HvReleaseTarget(&notes->record);
}

/*
 * The part of the log that records go to; 0 before the first record.
 */
static int16
PresentPart(HvNotes *notes)
{
	Datum		only_row = BoolGetDatum(true);
	HeapTuple	row;
	int16		part = 0;

	HvBeginScan(&notes->numbering, GetActiveSnapshot(), 1, &only_row);
	row = HvNextRow(&notes->numbering);
	if (row != NULL)
		part = DatumGetInt16(HvFieldNotNull(&notes->numbering, row, NUMBERING_PART));
	HvEndScan(&notes->numbering);
	return part;
}

/*
 * Open the part of the log that the record goes to, by the snapshot that is active; false if it is not as expected.
 */
bool
HvOpenRecord(HvNotes *notes)
{
	int16		part = PresentPart(notes);

	if (part != record_part)
	{
		snprintf(part_name, sizeof(part_name), "audit_log_%d", part);
		record_part = part;
		record_table.found = false;
	}
	if (HvOpenTarget(&record_table, &notes->record))
		return true;
	notes->record.table = NULL;
	return false;
}

/*
 * A field of an actor, counted from 1; empty if it has fewer. Palloc'd.
 */
static char *
ActorField(const char *actor, int field)
{
	for (; field > 1 && *actor != '\0'; field--)
	{
		actor += strcspn(actor, ACTOR_SEPARATOR);
		actor += *actor != '\0';
	}
	return pnstrdup(actor, strcspn(actor, ACTOR_SEPARATOR));
}

/*
 * The accessor of a token in a field of an actor, as vault.accessor_in() knows it.
 */
static NullableDatum
AccessorIn(const char *field)
{
	if (strlen(field) != UUID_TEXT_LEN || strspn(field, "0123456789abcdef-") != UUID_TEXT_LEN)
		return null;
	for (int i = 0; i < UUID_TEXT_LEN; i++)
		if ((field[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
			return null;
	return HvNotNull(DirectFunctionCall1(uuid_in, CStringGetDatum(field)));
}

/*
 * What the actor of an origin says: a name, and of a token its accessor and how it was obtained.
 */
static void
SetActor(NullableDatum *values, NullableDatum given)
{
	char	   *actor = given.isnull ? "" : text_to_cstring(DatumGetTextPP(given.value));
	char	   *method = ActorField(actor, 3);

	values[RECORD_ACTOR] = given.isnull ? null : HvNotNull(CStringGetTextDatum(ActorField(actor, 1)));
	values[RECORD_ACCESSOR] = AccessorIn(ActorField(actor, 2));
	values[RECORD_METHOD] = *method == '\0' ? null : HvNotNull(CStringGetTextDatum(method));
}

/*
 * Insert the audit record of a change that is made.
 */
static void
InsertRecord(HvNotes *notes, const NullableDatum *origin, Datum action, Datum name, int64 version, NullableDatum details)
{
	NullableDatum values[RECORD_COLUMNS] = {
		[RECORD_ID] = HvNotNull(Int64GetDatum(HvNextAuditId())),
		[RECORD_AT] = HvNotNull(TimestampTzGetDatum(GetCurrentTimestamp())),
		[RECORD_NODE] = origin[HV_ORIGIN_NODE],
		[RECORD_SESSION_ROLE] = origin[HV_ORIGIN_SESSION_ROLE],
		[RECORD_CLIENT_IP] = origin[HV_ORIGIN_CLIENT_IP],
		[RECORD_ACTION] = HvNotNull(action),
		[RECORD_NAME] = HvNotNull(name),
		[RECORD_VERSION] = version == 0 ? null : HvNotNull(Int64GetDatum(version)),
		[RECORD_OUTCOME] = HvNotNull(CStringGetTextDatum("ok")),
		[RECORD_CODE] = HvNotNull(CStringGetTextDatum("")),
		[RECORD_REQUEST_ID] = origin[HV_ORIGIN_REQUEST_ID],
		[RECORD_JOURNAL] = null,
		[RECORD_SEQUENCE] = null,
		[RECORD_DETAILS] = details,
		[RECORD_PART] = HvNotNull(Int16GetDatum(record_part)),
	};

	SetActor(values, origin[HV_ORIGIN_ACTOR]);
	HvInsertRow(&notes->record, values);
}

/*
 * Insert what those who follow read of a change. A reader of protocol 1 takes no version 0.
 */
static void
InsertChange(HvNotes *notes, Datum action, Datum name, int64 version)
{
	NullableDatum values[CHANGE_COLUMNS] = {
		[CHANGE_XID] = HvNotNull(FullTransactionIdGetDatum(GetTopFullTransactionId())),
		[CHANGE_ID] = HvNotNull(Int64GetDatum(HvNextAuditId())),
		[CHANGE_AT] = HvNotNull(TimestampTzGetDatum(GetCurrentTimestamp())),
		[CHANGE_ACTION] = HvNotNull(action),
		[CHANGE_NAME] = HvNotNull(name),
		[CHANGE_VERSION] = HvNotNull(Int64GetDatum(Max(version, 1))),
	};

	HvInsertRow(&notes->changes, values);
}

/*
 * Record a change, and have those who follow told of it at its commit.
 */
void
HvNoteChanged(HvNotes *notes, const NullableDatum *origin, Datum action, Datum name, int64 version, NullableDatum details)
{
	InsertRecord(notes, origin, action, name, version, details);
	InsertChange(notes, action, name, version);
	HvAnnounceChange();
}
