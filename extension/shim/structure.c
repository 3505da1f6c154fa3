/*
 * structure.c: refuses commands that would change whose the vault's tables are, tie other tables to them, or hold them.
 *
 * Another owner, or none of the row security, opens the rows to those to whom a later GRANT gives the table. A table that
 * inherits from one of the vault's adds its rows to it: its owner can make grants and tokens. A foreign key to one
 * keeps rows from being deleted, and tells which exist. Only superusers can do these, and hardly on purpose. CLUSTER and
 * REINDEX of one table are for members of pg_maintain as well; in a transaction that is left open they would stop all.
 */
#include "hyperion_vault.h"

#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "command.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

static bool
IsVaultOwner(void)
{
	return has_privs_of_role(GetUserId(), get_role_oid(HV_OWNER_NAME, true));
}

static void
RefuseStructure(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s schema " HV_SCHEMA_NAME, what),
			 errdetail("It would open what row security closes, or stop the vault."),
			 errhint(HV_ALLOW_HINT)));
}

static bool
TiesByKey(List *constraints, Oid schema)
{
	ListCell   *cell;

	foreach(cell, constraints)
		if (IsA(lfirst(cell), Constraint) && lfirst_node(Constraint, cell)->contype == CONSTR_FOREIGN &&
			HvInSchema(lfirst_node(Constraint, cell)->pktable, schema))
			return true;
	return false;
}

/*
 * ereport if a new table inherits from one of the vault or has a foreign key to one.
 */
static void
CheckCreate(CreateStmt *create, Oid schema)
{
	ListCell   *cell;
	bool		ties = TiesByKey(create->constraints, schema) || TiesByKey(create->tableElts, schema);

	foreach(cell, create->inhRelations)
		if (HvInSchema(lfirst_node(RangeVar, cell), schema))
			RefuseStructure("inherit from a table of");
	foreach(cell, create->tableElts)
		ties |= IsA(lfirst(cell), ColumnDef) && TiesByKey(lfirst_node(ColumnDef, cell)->constraints, schema);
	if (ties)
		RefuseStructure("refer to a table of");
}

static void
CheckPart(AlterTableCmd *part, bool ours, Oid schema)
{
	if (part->subtype == AT_AddInherit && HvInSchema(castNode(RangeVar, part->def), schema))
		RefuseStructure("inherit from a table of");
	if (!ours &&
		((part->subtype == AT_AddConstraint && TiesByKey(list_make1(part->def), schema)) ||
		 (part->subtype == AT_AddColumn && TiesByKey(castNode(ColumnDef, part->def)->constraints, schema))))
		RefuseStructure("refer to a table of");
	if (ours && part->subtype == AT_ChangeOwner &&
		get_rolespec_oid(part->newowner, true) != get_role_oid(HV_OWNER_NAME, true))
		RefuseStructure("change the owner of a table of");
	if (ours && (part->subtype == AT_DisableRowSecurity || part->subtype == AT_NoForceRowSecurity))
		RefuseStructure("turn off row security of a table of");
}

static void
CheckAlterTable(AlterTableStmt *alter, Oid schema)
{
	bool		ours = HvInSchema(alter->relation, schema);
	ListCell   *cell;

	foreach(cell, alter->cmds)
		CheckPart(lfirst_node(AlterTableCmd, cell), ours, schema);
}

/*
 * ereport if the schema or a function of it gets another owner: the functions act as theirs.
 */
static void
CheckOwner(AlterOwnerStmt *alter, Oid schema)
{
	bool		ours = false;

	if (get_rolespec_oid(alter->newowner, true) == get_role_oid(HV_OWNER_NAME, true))
		return;
	if (alter->objectType == OBJECT_SCHEMA)
		ours = strcmp(strVal(alter->object), HV_SCHEMA_NAME) == 0;
	else if (alter->objectType == OBJECT_FUNCTION || alter->objectType == OBJECT_ROUTINE)
	{
		Oid			function = LookupFuncWithArgs(alter->objectType, castNode(ObjectWithArgs, alter->object), true);

		ours = OidIsValid(function) && get_func_namespace(function) == schema;
	}
	if (ours)
		RefuseStructure("change the owner of");
}

static void
CheckReassign(ReassignOwnedStmt *reassign)
{
	ListCell   *cell;

	foreach(cell, reassign->roles)
		if (get_rolespec_oid(lfirst_node(RoleSpec, cell), true) == get_role_oid(HV_OWNER_NAME, true))
			RefuseStructure("change the owner of what is in");
}

/*
 * ereport if a role other than vault_owner and superusers rewrites a table or an index of the vault by itself, that is,
 * with a lock that an open transaction keeps.
 */
static void
CheckRewrite(const RangeVar *relation, Oid schema)
{
	if (relation == NULL || superuser() || IsVaultOwner() ||
		!HvInSchema(relation, schema))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to rewrite \"%s\" of schema " HV_SCHEMA_NAME, relation->relname),
			 errhint("VACUUM is allowed, and so is REINDEX of the whole database or schema.")));
}

/*
 * ereport if a command would rewrite and hold what is the vault's, whatever is allowed. May read the catalogs.
 */
void
HvCheckRewrite(Node *command)
{
	Oid			schema;

	if (!IsA(command, ReindexStmt) &&
#if PG_VERSION_NUM >= 190000
		!IsA(command, RepackStmt)
#else
		!IsA(command, ClusterStmt)
#endif
		)
		return;
	if (!OidIsValid(schema = HvSchema()))
		return;
	if (IsA(command, ReindexStmt))
		CheckRewrite(((ReindexStmt *) command)->relation, schema);
#if PG_VERSION_NUM >= 190000
	else if (((RepackStmt *) command)->relation != NULL)
		CheckRewrite(((RepackStmt *) command)->relation->relation, schema);
#else
	else
		CheckRewrite(((ClusterStmt *) command)->relation, schema);
#endif
}

/*
 * ereport if a command would change whose the tables are, or what is tied to them. Not in the extension's own scripts, and
 * not where pg_upgrade makes everything again. PostgreSQL refuses it to all but superusers and the owner. May read the
 * catalogs.
 */
void
HvCheckStructure(Node *command)
{
	Oid			schema;

	if (creating_extension || IsBinaryUpgrade ||
		(!IsA(command, CreateStmt) && !IsA(command, AlterTableStmt) && !IsA(command, AlterOwnerStmt) &&
		 !IsA(command, ReassignOwnedStmt)) ||
		!OidIsValid(schema = HvSchema()) || !(superuser() || IsVaultOwner()))
		return;
	if (IsA(command, CreateStmt))
		CheckCreate((CreateStmt *) command, schema);
	else if (IsA(command, AlterTableStmt))
		CheckAlterTable((AlterTableStmt *) command, schema);
	else if (IsA(command, AlterOwnerStmt))
		CheckOwner((AlterOwnerStmt *) command, schema);
	else
		CheckReassign((ReassignOwnedStmt *) command);
}
