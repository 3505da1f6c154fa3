/*
 * boundrole.c: finds the roles that a secret is bound to.
 *
 * After each change of a role PostgreSQL plans every statement on a table with row security once more, in all sessions. A
 * rotation that gives a role a password is such a change. So it runs no statement of that kind: rows are found by index scans
 * (tablescan.c) and written directly (givepassword.c, docs/decisions/0200).
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "arg.h"
#include "boundrole.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "rolepassword.h"
#include "runas.h"
#include "scram.h"
#include "sealed.h"
#include "tablescan.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

HvTable		HvBindings = {
	"role_bindings", "role_bindings_pkey", NULL, 2,
	{
		[HV_BINDING_SECRET] = {"secret_id", UUIDOID},
		[HV_BINDING_PLACE] = {"place", INT2OID},
		[HV_BINDING_ROLE] = {"role", REGROLEOID},
		[HV_BINDING_NAME] = {"role_name", TEXTOID},
		[HV_BINDING_ATTRIBUTES] = {"attributes", TEXTARRAYOID},
		[HV_BINDING_SHARED] = {"shared_role", REGROLEOID},
		[HV_BINDING_VERSION] = {"version", INT8OID},
		[HV_BINDING_POLICY] = {"session_policy", TEXTOID},
		[HV_BINDING_MAX_WAIT] = {"max_wait_secs", INT8OID},
		[HV_BINDING_DRIFT] = {"drift", TEXTOID},
		[HV_BINDING_DRIFT_SINCE] = {"drift_since", TIMESTAMPTZOID},
		[HV_BINDING_GRACE_ENDS_AT] = {"grace_ends_at", TIMESTAMPTZOID},
		[HV_BINDING_WAIT_UNTIL] = {"wait_until", TIMESTAMPTZOID},
	},
	.ungenerated = true
};

/* has the words of a refusal */
static HvStatement refuse_statement = {
	"SELECT vault.require_binding((SELECT b FROM vault.role_bindings b WHERE b.secret_id OPERATOR(pg_catalog.=) s.id"
	" AND b.place OPERATOR(pg_catalog.=) $2), s.name) FROM vault.secrets s WHERE s.id OPERATOR(pg_catalog.=) $1",
	2, {UUIDOID, INT2OID}
};
static HvStatement next_login_statement = {
	"SELECT l.username, l.iterations FROM vault.next_login_defined($1) l", 1, {UUIDOID}
};

/*
 * A column of a row that may be null: then the given value.
 */
static Datum
FieldOr(HvScan *scan, HeapTuple row, int column, Datum otherwise)
{
	bool		isnull;
	Datum		value = HvField(scan, row, column, &isnull);

	return isnull ? otherwise : value;
}

static void
ReadRole(HvScan *scan, HeapTuple row, HvBoundRole *role)
{
	char	   *policy = TextDatumGetCString(HvFieldNotNull(scan, row, HV_BINDING_POLICY));
	bool		unshared;

	role->row = heap_copytuple(row);
	role->place = HvFieldNotNull(scan, row, HV_BINDING_PLACE);
	role->role = DatumGetObjectId(FieldOr(scan, row, HV_BINDING_ROLE, ObjectIdGetDatum(InvalidOid)));
	role->name = TextDatumGetCString(HvFieldNotNull(scan, row, HV_BINDING_NAME));
	role->attributes = DatumGetArrayTypePCopy(HvFieldNotNull(scan, row, HV_BINDING_ATTRIBUTES));
	role->shared_role = DatumGetObjectId(HvField(scan, row, HV_BINDING_SHARED, &unshared));
	role->shares = !unshared;
	role->version = DatumGetInt64(FieldOr(scan, row, HV_BINDING_VERSION, Int64GetDatum(0)));
	role->waits = strcmp(policy, "wait") == 0;
	role->max_wait_secs = DatumGetInt64(FieldOr(scan, row, HV_BINDING_MAX_WAIT, Int64GetDatum(0)));
}

/*
 * The roles of a secret by their place, by the snapshot that is active; returns how many.
 */
int
HvReadRoles(HvScan *scan, HvBytes id, HvBoundRole *roles)
{
	HeapTuple	row;
	Datum		key = UUIDPGetDatum((const pg_uuid_t *) id.data);
	int			n = 0;

	HvBeginScan(scan, GetActiveSnapshot(), 1, &key);
	while (n < HV_MAX_ROLES && (row = HvNextRow(scan)) != NULL)
		ReadRole(scan, row, &roles[n++]);
	HvEndScan(scan);
	for (int i = 0; i < n; i++)
		roles[i].paired = n > 1;
	return n;
}

/*
 * Of a pair the role whose password is older; NULL if there is none.
 */
HvBoundRole *
HvNextOf(HvBoundRole *roles, int n)
{
	if (n == 2 && roles[1].version < roles[0].version)
		return &roles[1];
	return n > 0 ? &roles[0] : NULL;
}

static bool
Had(const HvBoundRole *bound, const char *attribute)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	bool		had = false;

	deconstruct_array(bound->attributes, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n && !had; i++)
		had = !nulls[i] && strcmp(TextDatumGetCString(values[i]), attribute) == 0;
	return had;
}

/*
 * Whether a role has an attribute that it had not when it was bound.
 */
static bool
IsPromoted(const HvBoundRole *bound, Form_pg_authid now)
{
	return (now->rolsuper && !Had(bound, "superuser")) || (now->rolcreaterole && !Had(bound, "createrole")) ||
		(now->rolcreatedb && !Had(bound, "createdb")) || (now->rolreplication && !Had(bound, "replication")) ||
		(now->rolbypassrls && !Had(bound, "bypassrls"));
}

/*
 * Whether a role is a member of another one, as vault.has_rights_of() has it.
 */
static bool
HasRightsOf(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	CatCList   *grants = SearchSysCacheList2(AUTHMEMROLEMEM, ObjectIdGetDatum(role), ObjectIdGetDatum(member));
	bool		has = false;

	for (int i = 0; i < grants->n_members; i++)
	{
		Form_pg_auth_members grant = (Form_pg_auth_members) GETSTRUCT(&grants->members[i]->tuple);

		has = has || grant->inherit_option || grant->set_option;
	}
	ReleaseSysCacheList(grants);
	return has;
#else
	return SearchSysCacheExists2(AUTHMEMROLEMEM, ObjectIdGetDatum(role), ObjectIdGetDatum(member));
#endif
}

/*
 * Whether a role is what it was when it was bound, as vault.binding_fault() has it.
 */
bool
HvIsAsBound(const HvBoundRole *bound)
{
	HeapTuple	tuple;
	Form_pg_authid now;
	bool		is;

	AcceptInvalidationMessages();
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(bound->role));
	if (!HeapTupleIsValid(tuple))
		return false;
	now = (Form_pg_authid) GETSTRUCT(tuple);
	is = strcmp(NameStr(now->rolname), bound->name) == 0 && !IsPromoted(bound, now);
	ReleaseSysCache(tuple);
	return is && (!bound->shares || HasRightsOf(bound->role, bound->shared_role));
}

/*
 * Whether the next version of a secret may be a role's password, as vault.require_binding() has it: a role of a pair takes
 * no turn while it cannot log in.
 */
bool
HvMayBeNext(const HvBoundRole *bound)
{
	HeapTuple	tuple;
	bool		may;

	if (!HvIsAsBound(bound))
		return false;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(bound->role));
	may = !bound->paired || (HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/*
 * ereport that a role is not what it was when it was bound. NULL is one that is missing.
 */
static void
Refuse(HvBytes id, const HvBoundRole *bound)
{
	HvParams	params = {0};

	SPI_connect();
	HvAddUuid(&params, id);
	if (bound == NULL)
		HvAddNull(&params);
	else
		HvAdd(&params, bound->place);
	HvOwnerLook(&refuse_statement, &params);
	elog(ERROR, "the role of a binding has changed meanwhile");
}

/*
 * Find the role whose password the next version of a secret is, by what is committed now or by the snapshot that is active;
 * NULL if there is none. False if the table is not as expected.
 */
static bool
FindNext(HvBytes id, bool latest, HvBoundRole *roles, HvBoundRole **next)
{
	HvScan		scan;

	if (!HvOpenTable(&HvBindings, &scan))
		return false;
	PushActiveSnapshot(latest ? GetCatalogSnapshot(InvalidOid) : GetActiveSnapshot());
	*next = HvNextOf(roles, HvReadRoles(&scan, id, roles));
	PopActiveSnapshot();
	HvCloseTable(&scan);
	return true;
}

const char *
HvUsualNextRole(HvBytes id)
{
	HvBoundRole roles[HV_MAX_ROLES];
	HvBoundRole *next;

	return FindNext(id, false, roles, &next) && next != NULL && HvMayBeNext(next) ? next->name : NULL;
}

const char *
HvNextRole(HvBytes id)
{
	HvBoundRole roles[HV_MAX_ROLES];
	HvBoundRole *next;

	if (!FindNext(id, true, roles, &next))
		return NULL;
	if (next == NULL || !HvMayBeNext(next))
		Refuse(id, next);
	return next->name;
}

/*
 * Have the definition answer.
 */
static void
NextLoginBySql(Datum id, ReturnSetInfo *result)
{
	HvParams	params = {0};

	SPI_connect();
	HvAdd(&params, id);
	HvOwnerRun(&next_login_statement, &params);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(hv_next_login);

/*
 * One row: whose password the next version of a secret is, and how many iterations its verifier has.
 */
Datum
hv_next_login(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *name;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	HvRequireOwner();
	RequireArg(fcinfo, 0, "id");
	InitMaterializedSRF(fcinfo, 0);
	name = HvNextRole((HvBytes) {PG_GETARG_UUID_P(0)->data, HV_ID_LEN});
	if (name == NULL)
	{
		NextLoginBySql(PG_GETARG_DATUM(0), result);
		return (Datum) 0;
	}
	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(HvScramIterations());
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
