/*
 * sealed.c: what the plaintext functions read and write. The decisions (may this role, does it exist) are functions in
 * sql/; here are the calls.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "create.h"
#include "funcapi.h"
#include "granting.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include <unistd.h>

static HvStatement require_statement = {
	"SELECT vault.require($1, $2, $3)", 3, {OIDOID, TEXTOID, TEXTOID}
};
#define SETTINGS_TYPES \
	TEXTOID, JSONBOID, INT8OID, TEXTOID, TEXTOID, INT8OID, BOOLOID, INT8OID, INT4OID, JSONBOID
#define ORIGIN_TYPES \
	TEXTOID, TEXTOID, TEXTOID, INETOID, TEXTOID

static HvStatement first_version_statement = {
	"SELECT vault.first_version($1)", 1, {TEXTOID}
};
#define CREATE_TYPES \
	UUIDOID, TEXTOID, INT8OID, INT2OID, TEXTOID, BYTEAOID, BYTEAOID, BYTEAOID, TEXTOID, TEXTOID, SETTINGS_TYPES, ORIGIN_TYPES

static HvStatement store_statement = {
	"SELECT (vault.create_anyhow($1, $2, $3, ROW($4, $5, $6, $7, $8)::vault.sealed_value, $9, $10,"
	" ROW($11, $12, $13, $14, $15, $16, $17, $18, $19, $20)::vault.secret_settings, NULL::vault.version_settings,"
	" ROW($21, $22, $23, $24, $25)::vault.audit_origin)).current_version",
	25, {CREATE_TYPES}
};
/* the same of a schema that is older than this library */
static HvStatement create_statement = {
	"SELECT (vault.create_secret($1, $2, $3, ROW($4, $5, $6, $7, $8)::vault.sealed_value, $9, $10,"
	" ROW($11, $12, $13, $14, $15, $16, $17, $18, $19, $20)::vault.secret_settings,"
	" ROW($21, $22, $23, $24, $25)::vault.audit_origin)).current_version",
	25, {CREATE_TYPES}
};
static HvStatement append_statement = {
	"SELECT (vault.append_version($1, $2, ROW($3, $4, $5, $6, $7)::vault.sealed_value, $8,"
	" NULL, $9, ROW($10, $11, $12, $13, $14)::vault.audit_origin)).current_version",
	14, {UUIDOID, INT8OID, INT2OID, TEXTOID, BYTEAOID, BYTEAOID, BYTEAOID, TEXTOID, BOOLOID, ORIGIN_TYPES}
};
static HvStatement configure_statement = {
	"SELECT i.current_version FROM vault.configure_secret($1, $2,"
	" ROW($3, $4, $5, $6, $7, $8, $9, $10, $11, $12)::vault.secret_settings,"
	" ROW($13, $14, $15, $16, $17)::vault.audit_origin) i",
	17, {UUIDOID, INT8OID, SETTINGS_TYPES, ORIGIN_TYPES}
};
static HvStatement expire_statement = {
	"SELECT i.version FROM vault.expire_version($1, $2, $3, ROW($4, $5, $6, $7, $8)::vault.audit_origin) i",
	8, {UUIDOID, INT8OID, INT8OID, ORIGIN_TYPES}
};
static HvStatement delete_statement = {
	"SELECT vault.delete_secret($1, $2, ROW($3, $4, $5, $6, $7)::vault.audit_origin)",
	7, {UUIDOID, INT8OID, ORIGIN_TYPES}
};
/*
 * The columns of vault.audit_origin: node, actor, session role, client address, request.
 */
void
HvAddOrigin(HvParams *params, const HvCall *call)
{
	char		node[256];

	if (gethostname(node, sizeof(node)) != 0)
		strlcpy(node, "unknown", sizeof(node));
	node[sizeof(node) - 1] = '\0';
	HvAddText(params, HvShown(node));
	HvAddText(params, HvLiteral(psprintf("role:%s", (const char *) call->origin.role.data)));
	HvAddText(params, call->origin.session_role);
	if (call->origin.client_addr.data == NULL)
		HvAddNull(params);
	else
		HvAdd(params, DirectFunctionCall1(inet_in, CStringGetDatum((const char *) call->origin.client_addr.data)));
	HvAddText(params, call->origin.request_id);
}

/*
 * The columns of vault.sealed_value.
 */
void
HvAddSealed(HvParams *params, const HvStored *sealed)
{
	HvAdd(params, Int16GetDatum((int16) sealed->envelope_version));
	HvAddText(params, sealed->key_id);
	HvAddBytea(params, sealed->wrapped);
	HvAddBytea(params, sealed->nonce);
	HvAddBytea(params, sealed->ciphertext);
}

/*
 * The columns of vault.secret_settings.
 */
static void
AddSettings(HvParams *params, const HvSettings *settings)
{
	for (int i = 0; i < HV_SETTINGS; i++)
		HvAddNullable(params, settings->values[i]);
}

void
HvAddUuid(HvParams *params, HvBytes id)
{
	HvAdd(params, UUIDPGetDatum((const pg_uuid_t *) id.data));
}

/*
 * Column of a row of the last statement, not null.
 */
Datum
HvColumn(HeapTuple row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column %d of a stored secret is null", column)));
	return value;
}

/*
 * Bytes of a column of a row of the last statement, with a zero byte after them. Palloc'd.
 */
HvBytes
HvColumnBytes(HeapTuple row, int column)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(HvColumn(row, column));
	Size		len = VARSIZE_ANY_EXHDR(value);
	unsigned char *copy = palloc(len + 1);

	memcpy(copy, VARDATA_ANY(value), len);
	copy[len] = '\0';
	return (HvBytes) {copy, len};
}

/*
 * A uuid in a column of a row of the last statement, not null. Palloc'd.
 */
HvBytes
HvColumnUuid(HeapTuple row, int column)
{
	unsigned char *copy = palloc(HV_ID_LEN);

	memcpy(copy, DatumGetUUIDP(HvColumn(row, column))->data, HV_ID_LEN);
	return (HvBytes) {copy, HV_ID_LEN};
}

/*
 * A jsonb value as text. Palloc'd.
 */
HvBytes
HvJsonText(Datum json)
{
	return HvLiteral(DatumGetCString(DirectFunctionCall1(jsonb_out, json)));
}

/*
 * The version in the one row of the last statement.
 */
int64
HvReturnedVersion(void)
{
	if (SPI_processed != 1)
		elog(ERROR, "a statement returned %lu rows, not one", (unsigned long) SPI_processed);
	return DatumGetInt64(HvColumn(SPI_tuptable->vals[0], 1));
}

/*
 * ereport unless the caller has a right on the call's name.
 */
void
HvRequire(HvCall *call, const char *wanted)
{
	HvParams	params = {0};

	if (HvMayNow(call->role, HvLiteral(wanted), call->name))
		return;
	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(call->role));
	HvAddText(&params, HvLiteral(wanted));
	HvAddText(&params, call->name);
	HvOwnerLook(&require_statement, &params);
	SPI_finish();
}

/*
 * What a row of HV_STORED_COLUMNS holds. Palloc'd.
 */
void
HvReadStored(HeapTuple row, HvBytes *id, HvBytes *content_type, HvStored *stored)
{
	*id = HvColumnUuid(row, 1);
	*content_type = HvColumnBytes(row, 2);
	stored->version = DatumGetInt64(HvColumn(row, 3));
	stored->envelope_version = DatumGetInt16(HvColumn(row, 4));
	stored->key_id = HvColumnBytes(row, 5);
	stored->wrapped = HvColumnBytes(row, 6);
	stored->nonce = HvColumnBytes(row, 7);
	stored->ciphertext = HvColumnBytes(row, 8);
}

/*
 * The version at which a new secret of the call's name begins. ereports if the name is taken.
 */
int64
HvFirstVersion(HvCall *call)
{
	HvParams	params = {0};
	int64		version;

	HvAddText(&params, call->name);
	if (HvFindFirstVersion(params.values[0], &version))
		return version;
	SPI_connect();
	HvOwnerRun(&first_version_statement, &params);
	version = HvReturnedVersion();
	SPI_finish();
	return version;
}

/*
 * Store a new secret with its sealed first version; returns the version.
 */
int64
HvInsertSecret(HvCall *call, const HvBinding *binding, NullableDatum kind, const HvSettings *settings,
			   const HvStored *sealed)
{
	HvParams	params = {0};
	int64		version;

	if (HvCreateUsual(call, binding, kind, settings, sealed))
		return binding->version;
	SPI_connect();
	HvAddUuid(&params, binding->id);
	HvAddText(&params, binding->name);
	HvAdd(&params, Int64GetDatum(binding->version));
	HvAddSealed(&params, sealed);
	HvAddNullable(&params, kind);
	HvAddText(&params, binding->content_type);
	AddSettings(&params, settings);
	HvAddOrigin(&params, call);
	HvOwnerRun(HvHasBindings() ? &store_statement : &create_statement, &params);
	version = HvReturnedVersion();
	SPI_finish();
	return version;
}

/*
 * Make a sealed value the current version, after the one that the lock found; returns it. The binding's version is
 * the new one. The schedule stays, or starts again from now.
 */
int64
HvAppendVersion(HvCall *call, const HvBinding *binding, const HvStored *sealed, bool reschedule)
{
	HvParams	params = {0};
	int64		version;

	if (!reschedule && HvAppendUsual(call, binding, sealed))
		return binding->version;
	SPI_connect();
	HvAddUuid(&params, binding->id);
	HvAdd(&params, Int64GetDatum(binding->version - 1));
	HvAddSealed(&params, sealed);
	HvAddText(&params, HvLiteral(call->action));
	HvAdd(&params, BoolGetDatum(reschedule));
	HvAddOrigin(&params, call);
	HvOwnerRun(&append_statement, &params);
	version = HvReturnedVersion();
	SPI_finish();
	return version;
}

/*
 * Destroy a locked secret.
 */
void
HvDelete(HvCall *call, const HvLocked *locked)
{
	HvParams	params = {0};

	SPI_connect();
	HvAddUuid(&params, locked->id);
	HvAdd(&params, Int64GetDatum(locked->current_version));
	HvAddOrigin(&params, call);
	HvOwnerRun(&delete_statement, &params);
	SPI_finish();
}

/*
 * Change settings of a locked secret; null keeps.
 */
void
HvConfigure(HvCall *call, const HvLocked *locked, const HvSettings *settings)
{
	HvParams	params = {0};

	SPI_connect();
	HvAddUuid(&params, locked->id);
	HvAdd(&params, Int64GetDatum(locked->current_version));
	AddSettings(&params, settings);
	HvAddOrigin(&params, call);
	HvOwnerRun(&configure_statement, &params);
	SPI_finish();
}

/*
 * Shorten the grace of a superseded version of a locked secret.
 */
void
HvExpireVersion(HvCall *call, const HvLocked *locked, int64 version, int64 grace_secs)
{
	HvParams	params = {0};

	SPI_connect();
	HvAddUuid(&params, locked->id);
	HvAdd(&params, Int64GetDatum(version));
	HvAdd(&params, Int64GetDatum(grace_secs));
	HvAddOrigin(&params, call);
	HvOwnerRun(&expire_statement, &params);
	SPI_finish();
}
