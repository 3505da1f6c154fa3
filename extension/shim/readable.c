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

static HvTable secrets_table = {
	"secrets", "secrets_name_key", "deleted_at", 1,
	{
		[HV_SECRET_NAME] = {"name", TEXTOID},
		[HV_SECRET_ID] = {"id", UUIDOID},
		[HV_SECRET_CONTENT_TYPE] = {"content_type", TEXTOID},
		[HV_SECRET_KIND] = {"kind", TEXTOID},
		[HV_SECRET_CURRENT] = {"current_version", INT8OID},
		[HV_SECRET_KEEP] = {"keep_versions", INT4OID},
		[HV_SECRET_DELETED_AT] = {"deleted_at", TIMESTAMPTZOID},
		[HV_SECRET_TAGS] = {"tags", JSONBOID},
		[HV_SECRET_NEXT_ROTATION] = {"next_rotation_at", TIMESTAMPTZOID},
	}
};

static HvTable versions_table = {
	"secret_versions", "secret_versions_pkey", NULL, 2,
	{
		[HV_VERSION_SECRET] = {"secret_id", UUIDOID},
		[HV_VERSION_NUMBER] = {"version", INT8OID},
		[HV_VERSION_ENVELOPE] = {"envelope_version", INT2OID},
		[HV_VERSION_KEY_ID] = {"kms_key_id", TEXTOID},
		[HV_VERSION_WRAPPED] = {"wrapped_dek", BYTEAOID},
		[HV_VERSION_NONCE] = {"nonce", BYTEAOID},
		[HV_VERSION_CIPHERTEXT] = {"ciphertext", BYTEAOID},
		[HV_VERSION_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
		[HV_VERSION_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
		[HV_VERSION_EXPIRED] = {"expired", BOOLOID},
		[HV_VERSION_DELETE_AT] = {"delete_at", TIMESTAMPTZOID},
	}
};

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
	HvReleaseTable(&tables->secrets);
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
IsReadable(HvSecretTables *tables, bool asked_for)
{
	bool		isnull;
	Datum		delete_at = HvField(&tables->versions, tables->version, HV_VERSION_DELETE_AT, &isnull);
	Datum		expires_at;
	int64		current;
	int64		version;

	if (!isnull && !IsAhead(delete_at))
		return false;
	expires_at = HvField(&tables->versions, tables->version, HV_VERSION_EXPIRES_AT, &isnull);
	if (isnull || !asked_for)
		return isnull;
	if (IsAhead(expires_at) && !DatumGetBool(HvFieldNotNull(&tables->versions, tables->version, HV_VERSION_EXPIRED)))
		return true;
	current = DatumGetInt64(HvFieldNotNull(&tables->secrets, tables->secret, HV_SECRET_CURRENT));
	version = DatumGetInt64(HvFieldNotNull(&tables->versions, tables->version, HV_VERSION_NUMBER));
	return version < current &&
		version >= current - DatumGetInt32(HvFieldNotNull(&tables->secrets, tables->secret, HV_SECRET_KEEP));
}

/*
 * Find a secret that is not deleted by its name.
 */
static bool
FindSecret(HvSecretTables *tables, Snapshot snapshot, Datum name)
{
	bool		deleted = true;
	bool		isnull;

	HvBeginScan(&tables->secrets, snapshot, 1, &name);
	while (deleted && (tables->secret = HvNextRow(&tables->secrets)) != NULL)
	{
		(void) HvField(&tables->secrets, tables->secret, HV_SECRET_DELETED_AT, &isnull);
		deleted = !isnull;
	}
	return tables->secret != NULL;
}

/*
 * Find a version of a secret that can be read: the given one, or the current one for 0. The rows are those of the tables until
 * the next one is looked for.
 */
bool
HvFindVersion(HvSecretTables *tables, Snapshot snapshot, Datum name, int64 version)
{
	Datum		keys[2];

	tables->version = NULL;
	if (!FindSecret(tables, snapshot, name))
		return false;
	keys[0] = HvFieldNotNull(&tables->secrets, tables->secret, HV_SECRET_ID);
	keys[1] = version != 0 ? Int64GetDatum(version) : HvFieldNotNull(&tables->secrets, tables->secret, HV_SECRET_CURRENT);
	HvBeginScan(&tables->versions, snapshot, 2, keys);
	while ((tables->version = HvNextRow(&tables->versions)) != NULL && !IsReadable(tables, version != 0))
		;
	return tables->version != NULL;
}

/*
 * Copy what was found. Palloc'd.
 */
static void
CopyFound(HvSecretTables *tables, HvOpenable *found)
{
	HvScan	   *versions = &tables->versions;
	HvStored   *stored = palloc(sizeof(HvStored));
	Datum		id = HvFieldNotNull(&tables->secrets, tables->secret, HV_SECRET_ID);

	found->id = (HvBytes) {memcpy(palloc(HV_ID_LEN), DatumGetUUIDP(id), HV_ID_LEN), HV_ID_LEN};
	found->content_type = FieldBytes(&tables->secrets, tables->secret, HV_SECRET_CONTENT_TYPE);
	stored->version = DatumGetInt64(HvFieldNotNull(versions, tables->version, HV_VERSION_NUMBER));
	stored->envelope_version = DatumGetInt16(HvFieldNotNull(versions, tables->version, HV_VERSION_ENVELOPE));
	stored->key_id = FieldBytes(versions, tables->version, HV_VERSION_KEY_ID);
	stored->wrapped = FieldBytes(versions, tables->version, HV_VERSION_WRAPPED);
	stored->nonce = FieldBytes(versions, tables->version, HV_VERSION_NONCE);
	stored->ciphertext = FieldBytes(versions, tables->version, HV_VERSION_CIPHERTEXT);
	found->versions = stored;
	found->n = 1;
}

/*
 * Fetch a version of a secret that can be read: the given one, or the current one for 0. False if there is none. The snapshot
 * is active. What is found is palloc'd in the context.
 */
bool
HvFetchReadable(HvSecretTables *tables, Snapshot snapshot, HvBytes name, int64 version, MemoryContext context, HvOpenable *found)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	Datum		key = PointerGetDatum(cstring_to_text_with_len((const char *) name.data, name.len));
	bool		finds = HvFindVersion(tables, snapshot, key, version);

	if (finds)
		CopyFound(tables, found);
	MemoryContextSwitchTo(before);
	return finds;
}
