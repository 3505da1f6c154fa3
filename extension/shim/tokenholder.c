/*
 * tokenholder.c: who holds a token, and why it is not valid.
 *
 * It finds what vault.token_holder() does, by indexes, without a statement. A test compares the two.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "text.h"
#include "tokenholder.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define ANONYMOUS_ROLE	"vault_anonymous"
#define PUBLIC_LEN		8		/* bytes of a fingerprint that a search may stop at */

enum TokenColumn
{
	TOKEN_FINGERPRINT, TOKEN_ID, TOKEN_NAME, TOKEN_EXPIRES_AT, TOKEN_REVOKED_AT, TOKEN_ROLE, TOKEN_METHOD, TOKEN_PARENT,
	TOKEN_SCOPES, TOKEN_BOUND_CIDRS
};

static HvTable tokens_table = {
	"tokens", "tokens_fingerprint_key", NULL, 1,
	{
		[TOKEN_FINGERPRINT] = {"fingerprint", BYTEAOID},
		[TOKEN_ID] = {"id", UUIDOID},
		[TOKEN_NAME] = {"name", TEXTOID},
		[TOKEN_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
		[TOKEN_REVOKED_AT] = {"revoked_at", TIMESTAMPTZOID},
		[TOKEN_ROLE] = {"role", REGROLEOID},
		[TOKEN_METHOD] = {"method", TEXTOID},
		[TOKEN_PARENT] = {"parent", UUIDOID},
		[TOKEN_SCOPES] = {"scopes", JSONBOID},
		[TOKEN_BOUND_CIDRS] = {"bound_cidrs", CIDRARRAYOID},
	}
};

enum ParentColumn
{
	PARENT_ID, PARENT_REVOKED_AT
};

static HvTable parents_table = {
	"tokens", "tokens_pkey", NULL, 1, {{"id", UUIDOID}, {"revoked_at", TIMESTAMPTZOID}}
};

/*
 * Open the table of tokens; false if it is not as expected. It is closed by HvCloseTokens.
 */
bool
HvOpenTokens(HvTokenTables *tables)
{
	if (!HvOpenTable(&tokens_table, &tables->tokens))
		return false;
	if (HvOpenTable(&parents_table, &tables->parents))
		return true;
	HvReleaseTable(&tables->tokens);
	return false;
}

void
HvCloseTokens(HvTokenTables *tables)
{
	HvCloseTable(&tables->tokens);
	HvCloseTable(&tables->parents);
}

/*
 * Whether a token was revoked, or the one that it was made by: one that ends while a child is made may not find it.
 */
static bool
IsRevoked(HvTokenTables *tables, Snapshot snapshot, HeapTuple token)
{
	bool		revoked;
	bool		isnull;
	Datum		parent;

	(void) HvField(&tables->tokens, token, TOKEN_REVOKED_AT, &isnull);
	if (!isnull)
		return true;
	parent = HvField(&tables->tokens, token, TOKEN_PARENT, &isnull);
	if (isnull)
		return false;
	HvBeginScan(&tables->parents, snapshot, 1, &parent);
	token = HvNextRow(&tables->parents);
	revoked = token == NULL;
	if (!revoked)
	{
		(void) HvField(&tables->parents, token, PARENT_REVOKED_AT, &isnull);
		revoked = !isnull;
	}
	HvEndScan(&tables->parents);
	return revoked;
}

/*
 * Whether an address is in one of the networks, as vault.address_within().
 */
static bool
IsWithin(NullableDatum address, Datum networks)
{
	bool		within = false;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(networks), CIDROID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && !within && !address.isnull; i++)
		within = !nulls[i] && DatumGetBool(DirectFunctionCall2(network_subeq, address.value, elements[i]));
	return within;
}

/*
 * The name of a role as text; 0 if there is none.
 */
static Datum
RoleName(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Datum		name;
	HvBytes		shown;

	if (!HeapTupleIsValid(tuple))
		return (Datum) 0;
	shown = HvShown(NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname));
	name = PointerGetDatum(cstring_to_text_with_len((const char *) shown.data, (int) shown.len));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * Why a token is not valid; NULL if it is.
 */
static const char *
CauseOf(HvTokenTables *tables, Snapshot snapshot, HeapTuple token, NullableDatum address, Datum acting)
{
	bool		isnull;
	Datum		value;

	if (IsRevoked(tables, snapshot, token))
		return "token_revoked";
	value = HvField(&tables->tokens, token, TOKEN_EXPIRES_AT, &isnull);
	if (!isnull && DatumGetTimestampTz(value) <= GetCurrentTimestamp())
		return "token_expired";
	value = HvField(&tables->tokens, token, TOKEN_BOUND_CIDRS, &isnull);
	if (!isnull && !IsWithin(address, value))
		return "token_address";
	return acting == 0 ? "role_missing" : NULL;
}

/*
 * The actor of the audit: the token's name, its accessor and the login method.
 */
static Datum
ActorOf(HvScan *tokens, HeapTuple token)
{
	char	   *name = TextDatumGetCString(HvFieldNotNull(tokens, token, TOKEN_NAME));
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, HvFieldNotNull(tokens, token, TOKEN_ID)));
	char	   *method = TextDatumGetCString(HvFieldNotNull(tokens, token, TOKEN_METHOD));

	return CStringGetTextDatum(psprintf("token:%s\x1f%s\x1f%s", name, id, method));
}

static void
ReadHolder(HvTokenTables *tables, Snapshot snapshot, HeapTuple token, NullableDatum address, HvHolder *holder)
{
	bool		isnull;
	Datum		value = HvField(&tables->tokens, token, TOKEN_ROLE, &isnull);
	const char *cause;

	holder->role = isnull ? InvalidOid : DatumGetObjectId(value);
	holder->acting = isnull ? (Datum) 0 : RoleName(holder->role);
	holder->actor = ActorOf(&tables->tokens, token);
	value = HvField(&tables->tokens, token, TOKEN_SCOPES, &isnull);
	holder->scopes = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	cause = CauseOf(tables, snapshot, token, address, holder->acting);
	holder->cause = cause == NULL ? (Datum) 0 : CStringGetTextDatum(cause);
}

static HvBytes
BytesOf(Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

	return (HvBytes) {(const unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)};
}

/*
 * Find out who holds the token with a fingerprint. The index is searched for its first bytes, and the rest is compared in
 * constant time. What is found is palloc'd.
 */
void
HvFindHolder(HvTokenTables *tables, Snapshot snapshot, Datum fingerprint, NullableDatum address, HvHolder *holder)
{
	HvBytes		wanted = BytesOf(fingerprint);
	size_t		len = Min(wanted.len, PUBLIC_LEN);
	HeapTuple	token;

	*holder = (HvHolder) {0};
	HvBeginScanFrom(&tables->tokens, snapshot, F_BYTEAGE,
					PointerGetDatum(cstring_to_text_with_len((const char *) wanted.data, (int) len)));
	while (holder->actor == 0 && (token = HvNextRow(&tables->tokens)) != NULL)
	{
		HvBytes		found = BytesOf(HvFieldNotNull(&tables->tokens, token, TOKEN_FINGERPRINT));

		if (found.len < len || memcmp(found.data, wanted.data, len) != 0)
			break;
		if (HvSameBytes(found, wanted))
			ReadHolder(tables, snapshot, token, address, holder);
	}
	HvEndScan(&tables->tokens);
	if (holder->actor == 0)
		*holder = (HvHolder) {CStringGetTextDatum("token_unknown"), CStringGetTextDatum("anonymous")};
}

/*
 * Who asks without a token.
 */
void
HvFindAnonymous(HvHolder *holder)
{
	Oid			role = get_role_oid(ANONYMOUS_ROLE, true);

	*holder = (HvHolder) {.actor = CStringGetTextDatum("reader"), .role = role};
	if (OidIsValid(role))
		holder->acting = CStringGetTextDatum(ANONYMOUS_ROLE);
	else
		holder->cause = CStringGetTextDatum("grant");
}
