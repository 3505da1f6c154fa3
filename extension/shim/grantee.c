/*
 * grantee.c: the type vault.grantee, a role that survives a restore.
 *
 * In a row it is the role's OID, so that a renamed role keeps its grants and one that takes the name of a dropped role
 * gets none. In a dump it is the role's name, as for regrole. But where regrole fails when the dump is restored on a server
 * that lacks the role, and all grants with it, this type keeps the name: such a grantee is missing. It stays missing, also
 * when a role of that name is made, and in further dumps, until an administrator says whose grant it is. As text it is
 * the quoted name, with a question mark before it when it is missing.
 */
#include "hyperion_vault.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

#define HELD	'r'				/* an OID follows */
#define MISSING	'?'				/* a name follows */

static Datum
MakeGrantee(char kind, const void *data, Size len)
{
	bytea	   *made = palloc(VARHDRSZ + 1 + len);

	SET_VARSIZE(made, VARHDRSZ + 1 + len);
	*VARDATA(made) = kind;
	memcpy(VARDATA(made) + 1, data, len);
	return PointerGetDatum(made);
}

/*
 * The OID of the role; InvalidOid if it is missing.
 */
static Oid
GranteeRole(const bytea *grantee)
{
	Oid			role;

	if (VARSIZE_ANY_EXHDR(grantee) != 1 + sizeof(role) || *VARDATA_ANY(grantee) != HELD)
		return InvalidOid;
	memcpy(&role, VARDATA_ANY(grantee) + 1, sizeof(role));
	return role;
}

/*
 * The name that stands in a text: one identifier, quoted or not. Palloc'd.
 */
static char *
ParseRoleName(const char *text)
{
#if PG_VERSION_NUM >= 160000
	List	   *names = stringToQualifiedNameList(text, NULL);
#else
	List	   *names = stringToQualifiedNameList(text);
#endif

	if (list_length(names) != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name syntax")));
	return strVal(linitial(names));
}

PG_FUNCTION_INFO_V1(hv_grantee_in);

Datum
hv_grantee_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	bool		missing = *text == MISSING;
	char	   *name = ParseRoleName(text + missing);
	Oid			role = missing ? InvalidOid : get_role_oid(name, true);

	if (OidIsValid(role))
		return MakeGrantee(HELD, &role, sizeof(role));
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role %s is missing here: a grant of it to secrets is set aside", quote_identifier(name)),
			 errhint("List what is set aside: SELECT * FROM vault.missing_grants();")));
	return MakeGrantee(MISSING, name, strlen(name));
}

PG_FUNCTION_INFO_V1(hv_grantee_out);

Datum
hv_grantee_out(PG_FUNCTION_ARGS)
{
	bytea	   *grantee = PG_GETARG_BYTEA_PP(0);
	Oid			role = GranteeRole(grantee);
	char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;
	const char *shown = name == NULL ? NULL : (const char *) HvShown(name).data;

	if (name != NULL && strcmp(name, shown) == 0)
		PG_RETURN_CSTRING(pstrdup(quote_identifier(name)));
	if (shown != NULL)			/* no text: one such byte in a dump, and no grant could be restored */
		name = pstrdup(shown);
	else if (OidIsValid(role))	/* dropped: its number is another role's elsewhere */
		name = psprintf("%u", role);
	else
		name = pnstrdup(VARDATA_ANY(grantee) + 1, VARSIZE_ANY_EXHDR(grantee) - 1);
	PG_RETURN_CSTRING(psprintf("%c%s", MISSING, quote_identifier(name)));
}

PG_FUNCTION_INFO_V1(hv_hold);

/*
 * A role as a grantee.
 */
Datum
hv_hold(PG_FUNCTION_ARGS)
{
	Oid			role = PG_GETARG_OID(0);

	return MakeGrantee(HELD, &role, sizeof(role));
}

PG_FUNCTION_INFO_V1(hv_role_of);

/*
 * The role of a grantee; null if it is missing.
 */
Datum
hv_role_of(PG_FUNCTION_ARGS)
{
	Oid			role = GranteeRole(PG_GETARG_BYTEA_PP(0));

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_OID(role);
}

PG_FUNCTION_INFO_V1(hv_missing_name);

/*
 * The name of a missing grantee; null if it is not.
 */
Datum
hv_missing_name(PG_FUNCTION_ARGS)
{
	bytea	   *grantee = PG_GETARG_BYTEA_PP(0);

	if (OidIsValid(GranteeRole(grantee)))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(VARDATA_ANY(grantee) + 1, VARSIZE_ANY_EXHDR(grantee) - 1));
}
