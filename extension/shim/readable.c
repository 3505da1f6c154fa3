/*
 * readable.c: which version of a secret can be read, and what is stored of it.
 *
 * It finds what vault.readable_versions() does, by the same indexes, without a statement. A test compares the two.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "readable.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

enum SecretColumn
{
	SECRET_NAME, SECRET_ID, SECRET_CONTENT_TYPE, SECRET_CURRENT, SECRET_KEEP, SECRET_DELETED_AT
};

static HvTable secrets_table = {
	"secrets", "secrets_name_key", "deleted_at", 1,
	{{"name", TEXTOID}, {"id", UUIDOID}, {"content_type", TEXTOID}, {"current_version", INT8OID}, {"keep_versions", INT4OID},
	{"deleted_at", TIMESTAMPTZOID}}
};

enum VersionColumn
{
	VERSION_SECRET, VERSION_NUMBER, VERSION_ENVELOPE, VERSION_KEY_ID, VERSION_WRAPPED, VERSION_NONCE, VERSION_CIPHERTEXT,
	VERSION_EXPIRES_AT, VERSION_EXPIRED, VERSION_DELETE_AT
};

static HvTable versions_table = {
	"secret_versions", "secret_versions_pkey", NULL, 2,
	{{"secret_id", UUIDOID}, {"version", INT8OID}, {"envelope_version", INT2OID}, {"kms_key_id", TEXTOID},
	{"wrapped_dek", BYTEAOID}, {"nonce", BYTEAOID}, {"ciphertext", BYTEAOID}, {"expires_at", TIMESTAMPTZOID},
	{"expired", BOOLOID}, {"delete_at", TIMESTAMPTZOID}}
};

/* what decides about the versions of a secret */
typedef struct Secret
{
	Datum		id;
	HvBytes		content_type;
	int64		current_version;
	int64		kept_from;		/* superseded versions from this one on are kept after their end */
} Secret;

/*
 * Open the tables of secrets; false if they are not as expected. They are closed by HvCloseSecrets.
 */
bool
HvOpenSecrets(HvSecretTables *tables)
{
	if (!HvOpenTable(&secrets_table, &tables->secrets))
		return false;
	if (HvOpenTable(&versions_table, &tables->versions))
		return true;
	HvCloseTable(&tables->secrets);
	return false;
}

void
HvCloseSecrets(HvSecretTables *tables)
{
	HvCloseTable(&tables->secrets);
	HvCloseTable(&tables->versions);
}

/*
 * The bytes of a column, with a zero byte after them. Palloc'd.
 */
static HvBytes
FieldBytes(HvScan *scan, HeapTuple row, int column)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(HvFieldNotNull(scan, row, column));
	Size		len = VARSIZE_ANY_EXHDR(value);
	unsigned char *copy = palloc(len + 1);

	memcpy(copy, VARDATA_ANY(value), len);
	copy[len] = '\0';
	return (HvBytes) {copy, len};
}

/*
 * Find a secret that is not deleted by its name. Palloc'd.
 */
static bool
FindSecret(HvScan *secrets, Snapshot snapshot, HvBytes name, Secret *secret)
{
	Datum		key = PointerGetDatum(cstring_to_text_with_len((const char *) name.data, name.len));
	bool		found = false;
	HeapTuple	row;

	HvBeginScan(secrets, snapshot, 1, &key);
	while (!found && (row = HvNextRow(secrets)) != NULL)
	{
		bool		present;

		(void) HvField(secrets, row, SECRET_DELETED_AT, &present);
		if (!present)
			continue;
		secret->id = UUIDPGetDatum(memcpy(palloc(HV_ID_LEN), DatumGetUUIDP(HvFieldNotNull(secrets, row, SECRET_ID)), HV_ID_LEN));
		secret->content_type = FieldBytes(secrets, row, SECRET_CONTENT_TYPE);
		secret->current_version = DatumGetInt64(HvFieldNotNull(secrets, row, SECRET_CURRENT));
		secret->kept_from = secret->current_version - DatumGetInt32(HvFieldNotNull(secrets, row, SECRET_KEEP));
		found = true;
	}
	HvEndScan(secrets);
	return found;
}

/*
 * Whether a time is later than now.
 */
static bool
IsAhead(Datum when)
{
	return DatumGetTimestampTz(when) > GetCurrentTimestamp();
}

/*
 * Whether a version can be read: it is not deleted, and the current one, or it was asked for and is in its grace or kept.
 */
static bool
IsReadable(HvScan *versions, HeapTuple row, const Secret *secret, bool asked_for)
{
	bool		isnull;
	Datum		delete_at = HvField(versions, row, VERSION_DELETE_AT, &isnull);
	Datum		expires_at;
	int64		version;

	if (!isnull && !IsAhead(delete_at))
		return false;
	expires_at = HvField(versions, row, VERSION_EXPIRES_AT, &isnull);
	if (isnull || !asked_for)
		return isnull;
	if (IsAhead(expires_at) && !DatumGetBool(HvFieldNotNull(versions, row, VERSION_EXPIRED)))
		return true;
	version = DatumGetInt64(HvFieldNotNull(versions, row, VERSION_NUMBER));
	return version >= secret->kept_from && version < secret->current_version;
}

static void
ReadVersion(HvScan *versions, HeapTuple row, HvStored *stored)
{
	stored->version = DatumGetInt64(HvFieldNotNull(versions, row, VERSION_NUMBER));
	stored->envelope_version = DatumGetInt16(HvFieldNotNull(versions, row, VERSION_ENVELOPE));
	stored->key_id = FieldBytes(versions, row, VERSION_KEY_ID);
	stored->wrapped = FieldBytes(versions, row, VERSION_WRAPPED);
	stored->nonce = FieldBytes(versions, row, VERSION_NONCE);
	stored->ciphertext = FieldBytes(versions, row, VERSION_CIPHERTEXT);
}

/*
 * Fetch a version of a secret that can be read: the given one, or the current one for 0. False if there is none. The snapshot
 * is active. What is found is palloc'd in the context.
 */
bool
HvFetchReadable(HvSecretTables *tables, Snapshot snapshot, HvBytes name, int64 version, MemoryContext context, HvOpenable *found)
{
	HvScan	   *versions = &tables->versions;
	MemoryContext before = MemoryContextSwitchTo(context);
	Secret		secret;
	Datum		keys[2];
	HeapTuple	row;

	found->n = 0;
	if (FindSecret(&tables->secrets, snapshot, name, &secret))
	{
		keys[0] = secret.id;
		keys[1] = Int64GetDatum(version == 0 ? secret.current_version : version);
		HvBeginScan(versions, snapshot, 2, keys);
		while (found->n == 0 && (row = HvNextRow(versions)) != NULL)
			if (IsReadable(versions, row, &secret, version != 0))
			{
				found->id = (HvBytes) {(const unsigned char *) DatumGetPointer(secret.id), HV_ID_LEN};
				found->content_type = secret.content_type;
				found->versions = palloc(sizeof(HvStored));
				ReadVersion(versions, row, found->versions);
				found->n = 1;
			}
		HvEndScan(versions);
	}
	MemoryContextSwitchTo(before);
	return found->n == 1;
}
