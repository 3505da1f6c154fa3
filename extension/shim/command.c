/*
 * command.c: refuses commands by which a role other than vault_owner would come to the vault's tables.
 *
 * Row security shows no rows to anyone but vault_owner, but it does not cover REFERENCES, TRIGGER, TRUNCATE and LOCK TABLE,
 * and a member of vault_owner has everything. So no privilege on a table of the vault is granted, vault_owner gets neither
 * a member nor an attribute, and a role that merely holds pg_write_all_data locks none of the tables. A superuser is refused
 * as well, unless hyperion_vault.allow_unsafe_grants is on: such a command is almost always a mistake.
 *
 * GRANT on a table is also seen by an event trigger, which needs no preloading. Roles belong to the cluster, so what
 * concerns vault_owner is refused in every database, and only where the library is loaded.
 */
#include "hyperion_vault.h"

#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "command.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

/*
 * The schema of the vault in this database; InvalidOid if there is none.
 */
Oid
HvSchema(void)
{
	Oid			schema = get_namespace_oid(HV_SCHEMA_NAME, true);
	Oid			extension = get_extension_oid(HV_EXTENSION_NAME, true);

	if (!OidIsValid(schema) || !OidIsValid(extension) ||
		getExtensionOfObject(NamespaceRelationId, schema) != extension)
		return InvalidOid;
	return schema;
}

/*
 * Whether a relation is in the vault's schema.
 */
bool
HvInSchema(const RangeVar *relation, Oid schema)
{
	Oid			found = RangeVarGetRelid(relation, NoLock, true);

	return OidIsValid(found) && get_rel_namespace(found) == schema;
}

static bool
NamesVaultSchema(List *schemas)
{
	ListCell   *cell;

	foreach(cell, schemas)
		if (strcmp(strVal(lfirst(cell)), HV_SCHEMA_NAME) == 0)
			return true;
	return false;
}

/*
 * ereport if a GRANT gives a privilege on a table of the vault, on all of its functions, or to create in its schema.
 */
static void
CheckGrant(GrantStmt *grant)
{
	Oid			schema;
	ListCell   *cell;
	bool		creates = grant->privileges == NIL;

	if (!grant->is_grant || grant->targtype == ACL_TARGET_DEFAULTS || !OidIsValid(schema = HvSchema()))
		return;
	if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA && NamesVaultSchema(grant->objects))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_GRANT_OPERATION),
				 errmsg("cannot grant privileges on everything in schema " HV_SCHEMA_NAME),
				 errhint("Call vault.grant_access() for a role that reads or writes secrets. " HV_ALLOW_HINT)));
	if (grant->targtype != ACL_TARGET_OBJECT)
		return;
	if (grant->objtype == OBJECT_TABLE || grant->objtype == OBJECT_SEQUENCE)
		foreach(cell, grant->objects)
			if (HvInSchema(lfirst_node(RangeVar, cell), schema))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_GRANT_OPERATION),
						 errmsg("cannot grant privileges on table \"%s\" of schema " HV_SCHEMA_NAME,
								lfirst_node(RangeVar, cell)->relname),
						 errhint("Its rows are reached by functions alone: call vault.grant_access(). " HV_ALLOW_HINT)));
	foreach(cell, grant->privileges)
		creates |= lfirst_node(AccessPriv, cell)->priv_name == NULL ||
			strcmp(lfirst_node(AccessPriv, cell)->priv_name, "create") == 0;
	if (grant->objtype == OBJECT_SCHEMA && creates && NamesVaultSchema(grant->objects))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_GRANT_OPERATION),
				 errmsg("cannot grant CREATE on schema " HV_SCHEMA_NAME),
				 errhint("A function made there could pass for one of the vault's. " HV_ALLOW_HINT)));
}

static bool
IsVaultOwner(const RoleSpec *role)
{
	if (role->roletype == ROLESPEC_PUBLIC)
		return false;
	if (role->roletype == ROLESPEC_CSTRING)
		return strcmp(role->rolename, HV_OWNER_NAME) == 0;
	return get_rolespec_oid(role, true) == get_role_oid(HV_OWNER_NAME, true);
}

static bool
HasVaultOwner(List *roles)
{
	ListCell   *cell;

	foreach(cell, roles)
		if (IsVaultOwner(lfirst_node(RoleSpec, cell)))
			return true;
	return false;
}

static void
RefuseMembership(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_GRANT_OPERATION),
			 errmsg("role " HV_OWNER_NAME " can have no member, and can be a member of no role"),
			 errdetail("A member of it could read every secret and forge the audit."),
			 errhint("Call vault.grant_access() for a role that reads or writes secrets. " HV_ALLOW_HINT)));
}

static void
CheckGrantRole(GrantRoleStmt *grant)
{
	ListCell   *cell;
	bool		concerns = HasVaultOwner(grant->grantee_roles);

	foreach(cell, grant->granted_roles)
		concerns |= lfirst_node(AccessPriv, cell)->priv_name != NULL &&
			strcmp(lfirst_node(AccessPriv, cell)->priv_name, HV_OWNER_NAME) == 0;
	if (grant->is_grant && concerns)
		RefuseMembership();
}

/*
 * ereport if the options of CREATE ROLE or ALTER ROLE give vault_owner a member, a membership, or a way to act by itself.
 */
static void
CheckOptions(bool owner, List *options, bool adds)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const char *name = option->defname;

		if (strcmp(name, "addroleto") == 0 || strcmp(name, "rolemembers") == 0 || strcmp(name, "adminmembers") == 0)
		{
			if (adds && (owner || HasVaultOwner((List *) option->arg)))
				RefuseMembership();
		}
		else if (owner && option->arg != NULL && strcmp(name, "inherit") != 0 && strcmp(name, "validUntil") != 0 &&
				 strcmp(name, "connectionlimit") != 0 && (strcmp(name, "password") == 0 || defGetBoolean(option)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_GRANT_OPERATION),
					 errmsg("role " HV_OWNER_NAME " can have no password and no attribute"),
					 errdetail("A session of it could read every secret and forge the audit."),
					 errhint(HV_ALLOW_HINT)));
	}
}

static void
CheckRename(RenameStmt *rename)
{
	if (rename->renameType == OBJECT_ROLE && strcmp(rename->subname, HV_OWNER_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_GRANT_OPERATION),
				 errmsg("role " HV_OWNER_NAME " cannot be renamed"),
				 errhint("The extension finds it by its name. " HV_ALLOW_HINT)));
}

/* what ReachesTable looks for, and the view that it is in: the view's own query names it, as OLD and NEW */
typedef struct Reach
{
	Oid			schema;
	Oid			view;
} Reach;

static bool ReachesTable(Node *node, Reach *reach);

static bool
ViewReaches(Oid view, Oid schema)
{
	Reach		inner = {schema, view};
	Relation	relation;
	bool		reaches;

	check_stack_depth();
	relation = try_relation_open(view, AccessShareLock);
	if (relation == NULL)
		return false;
	reaches = ReachesTable((Node *) get_view_query(relation), &inner);
	relation_close(relation, AccessShareLock);
	return reaches;
}

/*
 * Whether a tree has a table of the vault in it, by views as well.
 */
static bool
ReachesTable(Node *node, Reach *reach)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION && entry->relid != reach->view &&
			(get_rel_namespace(entry->relid) == reach->schema ||
			 (get_rel_relkind(entry->relid) == RELKIND_VIEW && ViewReaches(entry->relid, reach->schema)));
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, ReachesTable, reach, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, ReachesTable, reach);
}

/*
 * ereport if a role other than vault_owner and superusers locks a table of the vault, which would stop all who use it.
 */
static void
CheckLock(LockStmt *lock)
{
	Oid			schema;
	ListCell   *cell;

	if (lock->mode <= AccessShareLock || superuser() || !OidIsValid(schema = HvSchema()) ||
		has_privs_of_role(GetUserId(), get_role_oid(HV_OWNER_NAME, true)))
		return;
	foreach(cell, lock->relations)
	{
		Oid			found = RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);

		if (OidIsValid(found) &&
			(get_rel_namespace(found) == schema ||
			 (get_rel_relkind(found) == RELKIND_VIEW && ViewReaches(found, schema))))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to lock a table of schema " HV_SCHEMA_NAME)));
	}
}

/*
 * Whether the session runs a script of pg_dump or pg_restore, by what each of them sets first.
 */
static bool
IsRestoring(void)
{
	return !row_security && !check_function_bodies && namespace_search_path != NULL && *namespace_search_path == '\0';
}

static bool
IsInVault(GrantStmt *grant)
{
	ListCell   *cell;

	if (grant->objtype == OBJECT_SCHEMA)
		return NamesVaultSchema(grant->objects);
	if (grant->objtype != OBJECT_FUNCTION)
		return false;
	foreach(cell, grant->objects)
	{
		List	   *name = lfirst_node(ObjectWithArgs, cell)->objname;

		if (list_length(name) != 2 || strcmp(strVal(linitial(name)), HV_SCHEMA_NAME) != 0)
			return false;
	}
	return true;
}

/*
 * Whether a command is to be left out: in a restored dump, a GRANT of what the vault's functions need to a role that is
 * missing. As an error it would undo the whole restore, if that is one transaction. Says so.
 */
bool
HvLeaveOut(Node *command)
{
	GrantStmt  *grant = (GrantStmt *) command;
	ListCell   *cell;

	if (!IsA(command, GrantStmt) || !IsRestoring() || grant->targtype != ACL_TARGET_OBJECT || !IsInVault(grant))
		return false;
	foreach(cell, grant->grantees)
	{
		RoleSpec   *role = lfirst_node(RoleSpec, cell);

		if (role->roletype != ROLESPEC_CSTRING || OidIsValid(get_role_oid(role->rolename, true)))
			return false;
	}
	if (grant->grantees == NIL)
		return false;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role %s is missing here: a privilege of it in schema " HV_SCHEMA_NAME " is left out",
					quote_identifier(linitial_node(RoleSpec, grant->grantees)->rolename)),
			 errhint("List what is set aside: SELECT * FROM vault.missing_grants();")));
	return true;
}

/*
 * ereport if a command is one that is refused, whatever privileges the role has. May read the catalogs.
 */
void
HvCheckCommand(Node *command)
{
	if (IsA(command, LockStmt))
		CheckLock((LockStmt *) command);
	HvCheckRewrite(command);
	if (HvAllowUnsafeGrants)
		return;
	HvCheckStructure(command);
	if (IsA(command, GrantStmt))
		CheckGrant((GrantStmt *) command);
	else if (IsA(command, GrantRoleStmt))
		CheckGrantRole((GrantRoleStmt *) command);
	else if (IsA(command, CreateRoleStmt))
		CheckOptions(strcmp(((CreateRoleStmt *) command)->role, HV_OWNER_NAME) == 0,
					 ((CreateRoleStmt *) command)->options, true);
	else if (IsA(command, AlterRoleStmt))
		CheckOptions(IsVaultOwner(((AlterRoleStmt *) command)->role), ((AlterRoleStmt *) command)->options,
					 ((AlterRoleStmt *) command)->action > 0);
	else if (IsA(command, RenameStmt))
		CheckRename((RenameStmt *) command);
}

PG_FUNCTION_INFO_V1(hv_guard_grant);

/*
 * Event trigger, before a GRANT: the same, where the library is not preloaded.
 */
Datum
hv_guard_grant(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by the event trigger manager")));
	HvCheckCommand(((EventTriggerData *) fcinfo->context)->parsetree);
	PG_RETURN_NULL();
}
