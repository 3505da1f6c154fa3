/*
 * granting.c: the decision whether a role may do an action on a name.
 *
 * It finds what vault.granting() does, by the same indexes, without a statement: the grants on each pattern that selects the
 * name, of a role whose privileges the caller has. A test compares the two.
 */
#include "hyperion_vault.h"

#include "catalog/pg_type.h"
#include "granting.h"
#include "miscadmin.h"
#include "pattern.h"
#include "runas.h"
#include "sealed.h"
#include "text.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

enum GrantColumn
{
	GRANT_PATTERN, GRANT_ACTION, GRANT_GRANTEE, GRANT_BUILTIN
};

static HvTable grants_table = {
	"access_grants", "access_grants_pattern_idx", NULL, 1,
	{{"pattern", TEXTOID}, {"action", TEXTOID}, {"grantee", REGROLEOID}, {"builtin", TEXTOID}}
};

enum RevokedColumn
{
	REVOKED_ROLE, REVOKED_ACTION
};

static HvTable revoked_table = {
	"revoked_defaults", "revoked_defaults_pkey", NULL, 2, {{"role_name", TEXTOID}, {"action", TEXTOID}}
};

/* the same decision as a statement, for a schema whose tables are not as expected */
static HvStatement granted_statement = {
	"SELECT EXISTS (SELECT FROM vault.granting($1, $2, vault.matching_patterns($3)))", 3, {OIDOID, TEXTOID, TEXTOID}, true
};

/*
 * Open the tables of a decision; false if they are not as expected. They are closed by HvCloseGrants.
 */
bool
HvOpenGrants(HvGrantTables *tables)
{
	tables->answers = NULL;
	if (!HvOpenTable(&grants_table, &tables->grants))
		return false;
	if (HvOpenTable(&revoked_table, &tables->revoked))
		return true;
	HvReleaseTable(&tables->grants);
	return false;
}

void
HvCloseGrants(HvGrantTables *tables)
{
	HvCloseTable(&tables->grants);
	HvCloseTable(&tables->revoked);
}

static bool
EqualsText(Datum value, HvBytes bytes)
{
	HvBytes		stored = HvTextBytes(DatumGetTextPP(value));

	return stored.len == bytes.len && memcmp(stored.data, bytes.data, bytes.len) == 0;
}

/*
 * Whether a grant that was made with the extension was taken back. The index finds those of its role: the order of actions is
 * that of the database's collation, which changes with the C library.
 */
static bool
IsRevoked(HvScan *revoked, Snapshot snapshot, Datum builtin, Datum action)
{
	HvBytes		wanted = HvTextBytes(DatumGetTextPP(action));
	bool		is = false;
	HeapTuple	row;

	HvBeginScan(revoked, snapshot, 1, &builtin);
	while (!is && (row = HvNextRow(revoked)) != NULL)
		is = EqualsText(HvFieldNotNull(revoked, row, REVOKED_ACTION), wanted);
	return is;
}

/*
 * Report whether a grant is in force and lets a role do an action, or any action for list.
 */
static bool
Allows(HvGrantTables *tables, Snapshot snapshot, HeapTuple grant, Oid role, HvBytes action)
{
	Datum		granted = HvFieldNotNull(&tables->grants, grant, GRANT_ACTION);
	bool		isnull;
	Datum		grantee;
	Datum		builtin;

	if (!EqualsText(granted, action) && !(action.len == 4 && memcmp(action.data, "list", 4) == 0))
		return false;
	grantee = HvField(&tables->grants, grant, GRANT_GRANTEE, &isnull);
	if (isnull || !has_privs_of_role(role, DatumGetObjectId(grantee)))
		return false;
	builtin = HvField(&tables->grants, grant, GRANT_BUILTIN, &isnull);
	return isnull || !IsRevoked(&tables->revoked, snapshot, builtin, granted);
}

/*
 * Whether a grant on a pattern lets a role do an action.
 */
static bool
IsPatternGranted(HvGrantTables *tables, Snapshot snapshot, Oid role, HvBytes action, Datum pattern)
{
	bool		granted = false;
	HeapTuple	grant;

	HvBeginScan(&tables->grants, snapshot, 1, &pattern);
	while (!granted && (grant = HvNextRow(&tables->grants)) != NULL)
		granted = Allows(tables, snapshot, grant, role, action);
	return granted;
}

/*
 * The same for a pattern that the next name of the call may have as well.
 */
static bool
IsSharedGranted(HvGrantTables *tables, Snapshot snapshot, Oid role, HvBytes action, Datum pattern)
{
	HvPatternAnswers *known = tables->answers;
	HvBytes		bytes = HvTextBytes(DatumGetTextPP(pattern));
	bool		granted;

	for (int i = 0; known != NULL && i < known->n; i++)
		if (known->answers[i].role == role && EqualsText(PointerGetDatum(known->answers[i].pattern), bytes))
			return known->answers[i].granted;
	granted = IsPatternGranted(tables, snapshot, role, action, pattern);
	if (known != NULL && known->n < HV_MAX_ANSWERS)
		known->answers[known->n++] = (HvPatternAnswer) {
			role, cstring_to_text_with_len((const char *) bytes.data, (int) bytes.len), granted
		};
	return granted;
}

/*
 * Report whether a grant lets a role do an action on a name, or any action for list. Superusers need no grant, which it
 * does not consider.
 */
bool
HvIsGranted(HvGrantTables *tables, Snapshot snapshot, Oid role, HvBytes action, HvBytes target)
{
	Datum	   *patterns = palloc_array(Datum, target.len + 2);
	int			n = HvAddPatterns(target, patterns);
	bool		granted = false;

	/*
	 * The first pattern is the name itself, and the second one a star. Most grants are on a prefix, and every database has
	 * many on the star.
	 */
	for (int i = 2; i < n && !granted; i++)
		granted = IsSharedGranted(tables, snapshot, role, action, patterns[i]);
	if (!granted)
		granted = IsSharedGranted(tables, snapshot, role, action, patterns[1]);
	if (!granted)
		granted = IsPatternGranted(tables, snapshot, role, action, patterns[0]);
	for (int i = 0; i < n; i++)
		pfree(DatumGetPointer(patterns[i]));
	pfree(patterns);
	return granted;
}

/*
 * Whether a role may do an action on a name, by what is committed now and done by this transaction. False also if the tables
 * are not as expected: then a statement decides, which has the words of a refusal.
 */
bool
HvMayNow(Oid role, HvBytes action, HvBytes target)
{
	HvGrantTables tables;
	bool		may;

	if (HvIsSuperuser(role))
		return true;
	if (!HvOpenGrants(&tables))
		return false;
	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	may = HvIsGranted(&tables, GetActiveSnapshot(), role, action, target);
	PopActiveSnapshot();
	HvCloseGrants(&tables);
	return may;
}

/*
 * The decision by a statement.
 */
static bool
IsGrantedBySql(Oid role, text *action, text *target)
{
	HvParams	params = {0};
	bool		isnull;
	bool		granted;

	SPI_connect();
	HvAdd(&params, ObjectIdGetDatum(role));
	HvAdd(&params, PointerGetDatum(action));
	HvAdd(&params, PointerGetDatum(target));
	HvOwnerSee(&granted_statement, &params);
	granted = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return granted;
}

/*
 * ereport unless the current role may see the grants: a scan does not ask, and a privilege on a function must not give more
 * than a statement would.
 */
void
HvRequireVaultOwner(void)
{
	if (!has_privs_of_role(GetUserId(), get_role_oid(HV_OWNER_NAME, false)))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, grants_table.name);
}

PG_FUNCTION_INFO_V1(hv_may);

/*
 * Whether a role may do an action on a name, by the snapshot of the statement that asks. Never NULL: a superuser may do
 * whatever is asked, and a NULL is granted to no other role.
 */
Datum
hv_may(PG_FUNCTION_ARGS)
{
	HvGrantTables tables;
	text	   *action;
	text	   *target;
	bool		may;

	HvRequireVaultOwner();
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	if (HvIsSuperuser(PG_GETARG_OID(0)))
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(false);
	action = PG_GETARG_TEXT_PP(1);
	target = PG_GETARG_TEXT_PP(2);
	if (!HvOpenGrants(&tables))
		PG_RETURN_BOOL(IsGrantedBySql(PG_GETARG_OID(0), action, target));
	may = HvIsGranted(&tables, GetActiveSnapshot(), PG_GETARG_OID(0), HvTextBytes(action), HvTextBytes(target));
	HvCloseGrants(&tables);
	PG_RETURN_BOOL(may);
}
