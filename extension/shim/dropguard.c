/*
 * dropguard.c: keeps DROP EXTENSION from destroying secrets, and from leaving leased roles that nothing ends.
 *
 * Two halves. An event trigger of the extension fires before any command that can drop it and checks whether there
 * are any; being a call of this library, it also has it loaded. A hook refuses when the extension itself is
 * about to be dropped, by whatever way the command came to it (CASCADE, DROP OWNED). Neither is enough. When the
 * hook runs, the tables may be gone, and the trigger does not know what a CASCADE will reach. Triggers can be turned
 * off, so the hook allows only what the trigger has checked for this very command.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "command.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "runas.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

/*
 * All that others lock first, in their order. A DROP locks what it deletes in an order of its own. So it must not have one table
 * of a transaction that ships records, which needs no secrets, while that has another one.
 */
static HvStatement lock_statement = {
	"LOCK TABLE vault.secrets, vault.audit_journals, vault.audit_log IN ACCESS EXCLUSIVE MODE", 0
};
static HvStatement exist_statement = {
	"SELECT FROM vault.secrets WHERE deleted_at IS NULL LIMIT 1", 0
};
static HvStatement restorable_statement = {
	"SELECT FROM vault.secrets WHERE restorable_until > clock_timestamp() LIMIT 1", 0
};
static HvStatement leased_statement = {
	"SELECT FROM vault.role_leases LIMIT 1", 0
};
static bool looked = false;		/* whether the trigger did, for the present DROP */
static bool secrets_exist = false;	/* what it saw */
static bool restorable_exist = false;
static bool leases_exist = false;
static object_access_hook_type next_hook;
static ProcessUtility_hook_type next_utility;

/*
 * Refuse to drop the extension while secrets exist, or may exist without being seen. May ereport.
 */
static void
OnObjectAccess(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_hook)
		next_hook(access, class, object, sub, arg);
	if (access != OAT_DROP || class != ExtensionRelationId || HvAllowDrop ||
		object != get_extension_oid(HV_EXTENSION_NAME, true))
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot drop extension %s in a transaction that does not see new rows", HV_EXTENSION_NAME),
				 errhint("Use the isolation level READ COMMITTED.")));
	if (!looked)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension %s: its event trigger has not looked for secrets", HV_EXTENSION_NAME),
				 errhint("Drop it as its owner, with event triggers enabled: "
						 "ALTER EVENT TRIGGER hyperion_vault_guard_drop ENABLE ALWAYS; "
						 "To destroy what it holds: SET hyperion_vault.allow_drop_with_secrets = on;")));
	if (secrets_exist)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension %s: it holds secrets", HV_EXTENSION_NAME),
				 errhint("Delete the secrets first. To destroy them: SET hyperion_vault.allow_drop_with_secrets = on;")));
	if (restorable_exist)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension %s: it holds deleted secrets that can be restored", HV_EXTENSION_NAME),
				 errhint("Destroy them first: SELECT vault.destroy_deleted_secret(id) FROM vault.list_deleted_secrets(); "
						 "To destroy them with it: SET hyperion_vault.allow_drop_with_secrets = on;")));
	if (leases_exist)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension %s: it has leased roles, which nothing would end", HV_EXTENSION_NAME),
				 errhint("Revoke them: SELECT vault.revoke_lease(lease) FROM vault.leases() WHERE ending IS NULL; "
						 "To leave the roles behind: SET hyperion_vault.allow_drop_with_secrets = on;")));
}

static void
RunNextUtility(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	(next_utility ? next_utility : standard_ProcessUtility) (statement, text, read_only_tree, context, params,
															 environment, dest, completion);
}

/*
 * Refuse what is refused, and forget, for the length of a DROP, what the trigger saw before another one: one that runs
 * within it, or before it.
 */
static void
OnUtility(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	bool		outer = looked;

	HvCheckCommand(statement->utilityStmt);
	if (HvLeaveOut(statement->utilityStmt))
		return;
	if (!IsA(statement->utilityStmt, DropStmt) && !IsA(statement->utilityStmt, DropOwnedStmt))
	{
		RunNextUtility(statement, text, read_only_tree, context, params, environment, dest, completion);
		return;
	}
	looked = false;
	PG_TRY();
	{
		RunNextUtility(statement, text, read_only_tree, context, params, environment, dest, completion);
	}
	PG_FINALLY();
	{
		looked = outer;
	}
	PG_END_TRY();
}

/*
 * Install the hooks. Safe in the postmaster.
 */
void
HvGuardInit(void)
{
	next_hook = object_access_hook;
	object_access_hook = OnObjectAccess;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = OnUtility;
}

static bool
OwnsExtension(void)
{
	Oid			extension = get_extension_oid(HV_EXTENSION_NAME, true);

#if PG_VERSION_NUM >= 160000
	return OidIsValid(extension) && object_ownercheck(ExtensionRelationId, extension, GetUserId());
#else
	return OidIsValid(extension) && pg_extension_ownercheck(extension, GetUserId());
#endif
}

/*
 * Whether a command may be about to drop the extension; for others it would be wrong to wait for who uses it, or to
 * let them wait.
 */
static bool
AimsAtExtension(Node *command)
{
	ListCell   *cell;

	if (!IsA(command, DropStmt))
		return IsA(command, DropOwnedStmt);
	if (castNode(DropStmt, command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, castNode(DropStmt, command)->objects)
		if (strcmp(strVal(lfirst(cell)), HV_EXTENSION_NAME) == 0)
			return true;
	return castNode(DropStmt, command)->behavior == DROP_CASCADE;
}

/*
 * Whether a command may reach the extension at all, if only by a CASCADE that does not aim at it.
 */
static bool
CanReachExtension(Node *command)
{
	return AimsAtExtension(command) ||
		(IsA(command, DropStmt) && castNode(DropStmt, command)->behavior == DROP_CASCADE);
}

/*
 * A table of the vault by its name. InvalidOid if the schema is of a version without it, before an update.
 */
static Oid
FindTable(const char *name)
{
	Oid			schema = get_namespace_oid("vault", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

static bool
KeepsDeleted(void)
{
	Oid			secrets = FindTable("secrets");

	return OidIsValid(secrets) && get_attnum(secrets, "restorable_until") != InvalidAttrNumber;
}

/*
 * Whether a statement finds a row.
 */
static bool
FindsRow(HvStatement *statement)
{
	HvParams	none = {0};

	HvOwnerRun(statement, &none);
	return SPI_processed > 0;
}

PG_FUNCTION_INFO_V1(hv_guard_drop);

/*
 * Event trigger, before a DROP: note whether there are secrets or leased roles, and let no other transaction make one meanwhile.
 */
Datum
hv_guard_drop(PG_FUNCTION_ARGS)
{
	HvParams	none = {0};
	Node	   *command;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by the event trigger manager")));
	command = ((EventTriggerData *) fcinfo->context)->parsetree;
	/* A user who cannot drop the extension must not lock its tables: that would block every writer. */
	if (!OwnsExtension() || !CanReachExtension(command))
		PG_RETURN_NULL();
	SPI_connect();
	if (AimsAtExtension(command))
		HvOwnerRun(&lock_statement, &none);
	secrets_exist = FindsRow(&exist_statement);
	restorable_exist = !secrets_exist && KeepsDeleted() && FindsRow(&restorable_statement);
	leases_exist = OidIsValid(FindTable("role_leases")) && FindsRow(&leased_statement);
	looked = true;
	SPI_finish();
	PG_RETURN_NULL();
}
