/*
 * leasedrole.c: makes, prolongs and shuts the roles that leases are, without SQL text.
 *
 * The server's own functions do it, with the rights of the role that defined the template: what PostgreSQL refuses that
 * role, it refuses here.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "arg.h"
#include "catalog/pg_type.h"
#include "commands/user.h"
#include "leasedrole.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rolepassword.h"
#include "supervision.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

static bool shut = false;		/* a role was, by the present transaction */

/* what is made, for HvRunAs */
typedef struct HvNewRole
{
	CreateRoleStmt *statement;
	List	   *settings;		/* of AlterRoleSetStmt */
	Oid			role;
} HvNewRole;

/*
 * A role by its name. Palloc'd.
 */
RoleSpec *
HvRoleSpec(const char *name)
{
	RoleSpec   *spec = makeNode(RoleSpec);

	spec->roletype = ROLESPEC_CSTRING;
	spec->rolename = pstrdup(name);
	spec->location = -1;
	return spec;
}

static DefElem *
MakeOption(const char *name, Node *value)
{
	return makeDefElem(pstrdup(name), value, -1);
}

/*
 * A time as text that means the same by every DateStyle and TimeZone. Palloc'd.
 */
static char *
TimeText(TimestampTz at)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_XSD_DATES, text);
	return pstrdup(text);
}

/*
 * The roles of an array of OIDs, for GRANT. ereports for one that is missing. Palloc'd.
 */
static List *
RoleSpecs(ArrayType *roles)
{
	List	   *specs = NIL;
	Datum	   *values;
	int			n;

	deconstruct_array(roles, OIDOID, sizeof(Oid), true, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		Oid			role = DatumGetObjectId(values[i]);
		char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

		if (name == NULL)
			ereport(ERROR,
					(errcode(HV_ERRCODE_NO_ROLE),
					 errmsg("a group of the role template no longer exists"),
					 errhint("Create the template again with groups that exist.")));
		specs = lappend(specs, HvRoleSpec(name));
	}
	return specs;
}

static Node *
TextConst(const char *value)
{
	A_Const    *constant = makeNode(A_Const);

	constant->val.sval.type = T_String;
	constant->val.sval.sval = pstrdup(value);
	constant->location = -1;
	return (Node *) constant;
}

/*
 * The value of a setting as SET takes it: of a list of identifiers, each one.
 */
static List *
SettingValue(const char *name, char *value)
{
	List	   *parts = NIL;
	List	   *constants = NIL;
	ListCell   *cell;
	int			flags = GetConfigOptionFlags(name, true);

	if ((flags & GUC_LIST_QUOTE) == 0)
		return list_make1(TextConst(value));
	if (!SplitIdentifierString(value, ',', &parts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" of a role template must be a list of identifiers", name)));
	foreach(cell, parts)
		constants = lappend(constants, TextConst(lfirst(cell)));
	return constants != NIL ? constants : list_make1(TextConst(""));	/* no value at all would reset it */
}

/*
 * ALTER ROLE SET for each member of a JSON object of strings. Palloc'd.
 */
static List *
RoleSettings(const char *role, Jsonb *settings)
{
	List	   *statements = NIL;
	JsonbIterator *it = JsonbIteratorInit(&settings->root);
	JsonbValue	v;
	JsonbIteratorToken token;
	char	   *name = NULL;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		AlterRoleSetStmt *statement;

		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		if (token != WJB_VALUE || v.type != jbvString)
			continue;
		statement = makeNode(AlterRoleSetStmt);
		statement->role = HvRoleSpec(role);
		statement->setstmt = makeNode(VariableSetStmt);
		statement->setstmt->kind = VAR_SET_VALUE;
		statement->setstmt->name = name;
		statement->setstmt->args = SettingValue(name, pnstrdup(v.val.string.val, v.val.string.len));
		statements = lappend(statements, statement);
	}
	return statements;
}

static void
MakeRole(void *arg)
{
	HvNewRole  *made = arg;
	ParseState *state = make_parsestate(NULL);
	ListCell   *cell;

	made->role = CreateRole(state, made->statement);
	CommandCounterIncrement();
	foreach(cell, made->settings)
	{
		AlterRoleSet(lfirst(cell));
		CommandCounterIncrement();
	}
	free_parsestate(state);
}

PG_FUNCTION_INFO_V1(hv_make_leased_role);

/*
 * Arguments are the role to act as, name, verifier, VALID UNTIL, connection limit, groups, settings. Returns the role.
 */
Datum
hv_make_leased_role(PG_FUNCTION_ARGS)
{
	HvNewRole	made = {makeNode(CreateRoleStmt)};
	char	   *name;
	List	   *groups;

	for (int i = 0; i < 7; i++)
		if (i != 2)
			RequireArg(fcinfo, i, "an argument");
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strlen(name) >= NAMEDATALEN)
		elog(ERROR, "the name of a leased role is too long");
	made.statement->stmt_type = ROLESTMT_USER;
	made.statement->role = name;
	made.statement->options = list_make3(MakeOption("canlogin", (Node *) makeBoolean(true)),
										 MakeOption("validUntil", (Node *) makeString(TimeText(PG_GETARG_TIMESTAMPTZ(3)))),
										 MakeOption("connectionlimit", (Node *) makeInteger(PG_GETARG_INT32(4))));
	groups = RoleSpecs(PG_GETARG_ARRAYTYPE_P(5));
	if (groups != NIL)
		made.statement->options = lappend(made.statement->options, MakeOption("addroleto", (Node *) groups));
	made.settings = RoleSettings(name, PG_GETARG_JSONB_P(6));
	HvRunAs(PG_GETARG_OID(0), MakeRole, &made);
	if (!PG_ARGISNULL(2))		/* the right to make a role is the right to give it a password */
		HvStoreLogin(made.role, text_to_cstring(PG_GETARG_TEXT_PP(2)), NULL);
	PG_RETURN_OID(made.role);
}

PG_FUNCTION_INFO_V1(hv_prolong_leased_role);

/*
 * Arguments are the role to act as, the role, VALID UNTIL.
 */
Datum
hv_prolong_leased_role(PG_FUNCTION_ARGS)
{
	HvAlterRole(PG_GETARG_OID(0), PG_GETARG_OID(1), NULL, TimeText(PG_GETARG_TIMESTAMPTZ(2)));
	PG_RETURN_VOID();
}

static void
AlterLeasedRole(void *arg)
{
	ParseState *state = make_parsestate(NULL);

	AlterRole(state, arg);
	free_parsestate(state);
}

/*
 * Take from a role that it can log in, by whatever method. The vault may: the role is its own.
 */
void
HvShutRole(Oid role)
{
	AlterRoleStmt *statement = makeNode(AlterRoleStmt);

	statement->role = HvRoleSpec(GetUserNameFromId(role, false));
	statement->action = +1;
	statement->options = list_make1(MakeOption("canlogin", (Node *) makeBoolean(false)));
	HvLockRole(role);
	HvRunAs(HV_AS_VAULT, AlterLeasedRole, statement);
	CommandCounterIncrement();
}

static void
AtTransactionEnd(XactEvent event, void *arg)
{
	if (!shut)
		return;
	if (event == XACT_EVENT_COMMIT)
		HvNoteLeaseEnd();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		shut = false;
}

PG_FUNCTION_INFO_V1(hv_shut_leased_role);

/*
 * Argument 0 is the role. The supervisor is woken after the commit: it ends the sessions.
 */
Datum
hv_shut_leased_role(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(AtTransactionEnd, NULL);
		registered = true;
	}
	if (GetUserNameFromId(PG_GETARG_OID(0), true) != NULL)
		HvShutRole(PG_GETARG_OID(0));
	shut = true;
	PG_RETURN_VOID();
}
