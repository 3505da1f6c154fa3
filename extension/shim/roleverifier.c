/*
 * roleverifier.c: verifiers of the passwords that values of bound secrets are.
 *
 * One is made here, or by the API where PostgreSQL is not shown the value. It is kept in memory for the rest of the statement
 * that makes the version: what stores versions takes it from there.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "arg.h"
#include "boundrole.h"
#include "catalog/pg_type.h"
#include "golib.h"
#include "rolepassword.h"
#include "roleverifier.h"
#include "secretmem.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static HvStatement next_statement = {
	"SELECT l.username FROM vault.next_login_defined($1) l", 1, {UUIDOID}
};

/* the verifier of the password that a version is; the memory is the transaction's */
static struct
{
	unsigned char id[HV_ID_LEN];
	int64		version;
	char	   *role;			/* that it was made for, NULL if the value names none */
	TimestampTz at;				/* start of the statement */
	char	   *verifier;		/* NULL: none */
	MemoryContextCallback forget;
}			offered;

static void
Forget(void *arg)
{
	offered.verifier = NULL;
}

void
HvOfferVerifier(const unsigned char *id, int64 version, const char *verifier, const char *role)
{
	MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
	Size		len = strlen(verifier) + 1;
	char	   *copy = (char *) HvSecretAlloc(len);

	MemoryContextSwitchTo(before);
	memcpy(copy, verifier, len);
	if (offered.verifier == NULL)
	{
		offered.forget.func = Forget;
		MemoryContextRegisterResetCallback(TopTransactionContext, &offered.forget);
	}
	memcpy(offered.id, id, HV_ID_LEN);
	offered.version = version;
	offered.role = role == NULL ? NULL : MemoryContextStrdup(TopTransactionContext, role);
	offered.at = GetCurrentStatementStartTimestamp();
	offered.verifier = copy;
}

static const char *
TextOrNull(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

PG_FUNCTION_INFO_V1(hv_offer_verifier);

Datum
hv_offer_verifier(PG_FUNCTION_ARGS)
{
	char	   *verifier;

	HvLogEnter("offer_verifier");
	HvRequireOwner();
	RequireArg(fcinfo, 0, "id");
	RequireArg(fcinfo, 1, "version");
	RequireArg(fcinfo, 2, "verifier");
	verifier = text_to_cstring(PG_GETARG_TEXT_PP(2));
	HvCheckVerifier(verifier);
	HvOfferVerifier(PG_GETARG_UUID_P(0)->data, PG_GETARG_INT64(1), verifier, TextOrNull(fcinfo, 3));
	PG_RETURN_VOID();
}

const char *
HvOfferedVerifier(const unsigned char *id, int64 version, const char *role)
{
	if (offered.verifier == NULL || offered.at != GetCurrentStatementStartTimestamp() || offered.version != version ||
		memcmp(offered.id, id, HV_ID_LEN) != 0)
		return NULL;
	/* The value names the other role: it was the next one when the value was made, and the secret has been bound again. */
	if (role != NULL && offered.role != NULL && strcmp(role, offered.role) != 0)
		return NULL;
	return offered.verifier;
}

PG_FUNCTION_INFO_V1(hv_offered_verifier);

Datum
hv_offered_verifier(PG_FUNCTION_ARGS)
{
	const char *verifier;

	HvRequireOwner();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	verifier = HvOfferedVerifier(PG_GETARG_UUID_P(0)->data, PG_GETARG_INT64(1), TextOrNull(fcinfo, 2));
	if (verifier == NULL)
		PG_RETURN_NULL();
	HvLogGive();
	PG_RETURN_TEXT_P(cstring_to_text(verifier));
}

/*
 * The name of the role whose password the next version of a locked secret is. ereports if that is not the role that was bound.
 */
static HvBytes
NextRole(const HvLocked *locked)
{
	HvParams	params = {0};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	const char *next = HvNextRole(locked->id);
	HvBytes		name;

	if (next != NULL)
		return HvLiteral(next);
	SPI_connect();
	HvAddUuid(&params, locked->id);
	HvOwnerRun(&next_statement, &params);
	if (SPI_processed != 1)
		elog(ERROR, "no role was returned");
	spi = MemoryContextSwitchTo(caller);
	name = HvColumnBytes(SPI_tuptable->vals[0], 1);
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return name;
}

static bool
IsJson(HvBytes content_type)
{
	return strcmp((const char *) content_type.data, "application/json") == 0;
}

const char *
HvRoleToName(const HvLocked *secret)
{
	return IsJson(secret->content_type) ? (const char *) NextRole(secret).data : NULL;
}

HvBytes
HvForRole(HvBytes value, const char *role)
{
	HvBuf		changed = {NULL, 0};

	if (role == NULL)
		return value;
	HV_CALL_GO(set_username, value, HvLiteral(role), &changed);
	HvSecretWipe(value.data);
	return HvTakeBuf(&changed);
}

/*
 * The password that a value has; the user that it names, empty for none. The caller wipes the password.
 */
HvBytes
HvPasswordOf(HvBytes content_type, HvBytes value, HvBytes *username)
{
	HvBuf		user = {NULL, 0};
	HvBuf		password = {NULL, 0};

	HV_CALL_GO(login, content_type, value, &user, &password);
	*username = HvTakeBuf(&user);
	return HvTakeBuf(&password);
}

bool
HvIsNamed(HvBytes name, const char *role)
{
	return name.len == strlen(role) && memcmp(name.data, role, name.len) == 0;
}

/*
 * ereport if a value of JSON is for another user than the role.
 */
static void
CheckUsername(HvBytes username, const char *role)
{
	if (!HvIsNamed(username, role))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the field username of the value must be the role \"%s\"", role)));
}

/*
 * The verifier of the password that a value is for a role.
 */
char *
HvVerifierOf(HvBytes content_type, HvBytes value, const char *role)
{
	HvBytes		username;
	HvBytes		password;
	char	   *verifier;

	HvLogGive();
	if (!IsJson(content_type))
		return HvScramVerifier(value);
	password = HvPasswordOf(content_type, value, &username);
	CheckUsername(username, role);
	verifier = HvScramVerifier(password);
	HvSecretWipe(password.data);
	return verifier;
}

void
HvMakePassword(const HvLocked *secret, HvBytes value, const char *role, HvPassword *password)
{
	password->role = role;
	password->verifier = HvVerifierOf(secret->content_type, value, role);
}

bool
HvIsForNext(const HvLocked *locked, const HvPassword *password)
{
	const char *role = HvRoleToName(locked);

	return role == NULL ? password->role == NULL : password->role != NULL && strcmp(role, password->role) == 0;
}

void
HvOfferPassword(const HvLocked *locked, const HvPassword *password)
{
	HvOfferVerifier(locked->id.data, locked->current_version + 1, password->verifier, password->role);
}
