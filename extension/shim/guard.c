/*
 * guard.c: keeps DROP EXTENSION from destroying secrets.
 *
 * Two halves. An event trigger of the extension fires before any command that can drop it and looks whether there
 * are secrets; being a call of this library, it also has it loaded. A hook refuses when the extension itself is
 * about to be dropped, by whatever way the command came to it (CASCADE, DROP OWNED). Neither is enough: when the
 * hook runs, the tables may be gone; and the trigger does not know what a CASCADE will reach.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "owner.h"

static HvStatement lock_statement = {
	"LOCK TABLE vault.secrets IN ACCESS EXCLUSIVE MODE", 0
};
static HvStatement exist_statement = {
	"SELECT FROM vault.secrets WHERE deleted_at IS NULL LIMIT 1", 0
};
static bool secrets_exist = false;	/* when the present DROP began */
static object_access_hook_type next_hook;

/*
 * Refuse to drop the extension while secrets exist, or may exist without being seen. May ereport.
 */
static void
ObjectAccess(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
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
	if (secrets_exist)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension %s: it holds secrets", HV_EXTENSION_NAME),
				 errhint("Delete the secrets first. To destroy them, SET hyperion_vault.allow_drop_with_secrets = on.")));
}

/*
 * Install the hook. Safe in the postmaster.
 */
void
HvGuardInit(void)
{
	next_hook = object_access_hook;
	object_access_hook = ObjectAccess;
}

/*
 * Whether a command may be about to drop the extension; for others it would be wrong to wait for who uses it, or to
 * let them wait.
 */
static bool
AimsAtExtension(Node *command)
{
	ListCell   *cell;

	if (!superuser())
		return false;
	if (!IsA(command, DropStmt))
		return IsA(command, DropOwnedStmt);
	if (castNode(DropStmt, command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, castNode(DropStmt, command)->objects)
		if (strcmp(strVal(lfirst(cell)), HV_EXTENSION_NAME) == 0)
			return true;
	return castNode(DropStmt, command)->behavior == DROP_CASCADE;
}

PG_FUNCTION_INFO_V1(hv_guard_drop);

/*
 * Event trigger, before a DROP: note whether there are secrets, and let no other transaction make one meanwhile.
 */
Datum
hv_guard_drop(PG_FUNCTION_ARGS)
{
	HvParams	none = {0};

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by the event trigger manager")));
	SPI_connect();
	if (AimsAtExtension(((EventTriggerData *) fcinfo->context)->parsetree))
		HvOwnerRun(&lock_statement, &none);
	HvOwnerRun(&exist_statement, &none);
	secrets_exist = SPI_processed > 0;
	SPI_finish();
	PG_RETURN_NULL();
}
