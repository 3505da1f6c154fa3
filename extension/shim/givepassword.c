/*
 * givepassword.c: gives a bound role the password that a version of its secret is, without a statement on a table of the vault.
 *
 * vault.set_role_password() is the definition. It also has the words of each refusal: what is not as usual is left to it before
 * anything is changed.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "boundrole.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rolepassword.h"
#include "rolesession.h"
#include "roleverifier.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#define ATTEMPTS	3			/* to lock rows that others change meanwhile, before a statement does it */

enum VerifierColumn
{
	VERIFIER_SECRET, VERIFIER_PLACE, VERIFIER_TEXT, VERIFIER_SETTLED_AT, VERIFIER_COLUMNS
};

static HvTable verifiers_table = {
	"role_verifiers", "role_verifiers_pkey", NULL, 2,
	{
		[VERIFIER_SECRET] = {"secret_id", UUIDOID},
		[VERIFIER_PLACE] = {"place", INT2OID},
		[VERIFIER_TEXT] = {"verifier", TEXTOID},
		[VERIFIER_SETTLED_AT] = {"settled_at", TIMESTAMPTZOID},
	},
	.inserted = true
};

static const NullableDatum null = {(Datum) 0, true};

void
HvCloseRoles(HvRoles *roles)
{
	HvCloseTarget(&roles->bindings);
	HvCloseTarget(&roles->verifiers);
}

void
HvReleaseRoles(HvRoles *roles)
{
	HvReleaseTarget(&roles->bindings);
	HvReleaseTarget(&roles->verifiers);
}

/*
 * Lock what says of a role which password it has. Who waits for no other has the row of the role locked as well, which else is
 * locked by its change.
 */
static bool
LockRole(HvRoles *roles, HvBoundRole *bound, bool changes)
{
	if (!HvLockRowOr(&roles->bindings, bound->row, LockTupleNoKeyExclusive, roles->wait))
		return false;
	return roles->wait == LockWaitBlock || !changes || HvLockRoleAtOnce(bound->role);
}

/*
 * Find the roles, and lock what is to change of them. Of a retiring role that is not what it was nothing is changed.
 */
static bool
LockRoles(HvRoles *roles, HvBytes id, int64 version)
{
	int			n = HvReadRoles(&roles->bindings.scan, id, roles->roles);

	roles->next = HvNextOf(roles->roles, n);
	roles->retiring = n < 2 ? NULL : roles->next == &roles->roles[0] ? &roles->roles[1] : &roles->roles[0];
	if (roles->next == NULL || !HvMayBeNext(roles->next))
		return false;
	roles->verifier = HvOfferedVerifier(id.data, version, roles->next->name);
	return roles->verifier != NULL && LockRole(roles, roles->next, true) &&
		(roles->retiring == NULL || LockRole(roles, roles->retiring, HvIsAsBound(roles->retiring)));
}

/*
 * Find and lock the verifier that was kept last.
 */
static bool
LockVerifier(HvRoles *roles, HvBytes id)
{
	Datum		key[2] = {UUIDPGetDatum((const pg_uuid_t *) id.data), roles->next->place};
	HeapTuple	row;
	bool		locked;

	HvBeginScan(&roles->verifiers.scan, GetActiveSnapshot(), 2, key);
	row = HvNextRow(&roles->verifiers.scan);
	roles->kept = row == NULL ? NULL : heap_copytuple(row);
	locked = row == NULL || HvLockRowOr(&roles->verifiers, row, LockTupleNoKeyExclusive, roles->wait);
	HvEndScan(&roles->verifiers.scan);
	return locked;
}

/*
 * Lock all that is to change, as it is now. Who holds the secret need not care for what is older: others that change these rows
 * without it only note when a password was committed and which sessions were told to end. After a wait for such
 * a change the row is another one, which is then locked.
 */
static bool
LockAll(HvRoles *roles, HvBytes id, int64 version)
{
	bool		locked = false;

	for (int i = 0; i < ATTEMPTS && !locked && (i == 0 || roles->wait == LockWaitBlock); i++)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		locked = LockRoles(roles, id, version) && LockVerifier(roles, id);
		PopActiveSnapshot();
	}
	return locked;
}

bool
HvOpenRoles(HvRoles *roles, HvBytes id, int64 version, LockWaitPolicy wait)
{
	roles->wait = wait;
	if (!HvOpenTarget(&HvBindings, &roles->bindings))
		return false;
	if (!HvOpenTarget(&verifiers_table, &roles->verifiers))
	{
		HvReleaseTarget(&roles->bindings);
		return false;
	}
	if (LockAll(roles, id, version))
		return true;
	HvReleaseRoles(roles);
	return false;
}

/*
 * Let the retiring role of a pair log in until its grace ends; returns until when, as vault.begin_grace().
 */
static TimestampTz
BeginGrace(HvRoles *roles, TimestampTz ends, TimestampTz stamp)
{
	static const int columns[] = {HV_BINDING_GRACE_ENDS_AT, HV_BINDING_WAIT_UNTIL};
	HvBoundRole *bound = roles->retiring;
	NullableDatum values[] = {HvNotNull(TimestampTzGetDatum(ends)), null};
	TimestampTz valid_until = ends;

	if (bound->waits)
	{
		TimestampTz latest = ends + bound->max_wait_secs * USECS_PER_SEC;

		/* A pass of the supervisor finds out whether there are sessions, and a grace may be shorter than it takes to the next. */
		valid_until = Max(ends, Min(stamp + HvProlongedBySecs() * USECS_PER_SEC, latest));
		values[1] = HvNotNull(TimestampTzGetDatum(latest));
	}
	HvStoreLogin(bound->role, NULL, &valid_until);
	HvUpdateRow(&roles->bindings, bound->row, lengthof(columns), columns, values);
	return valid_until;
}

/*
 * Note which password the next role has, and that it is not known yet by when that was committed.
 */
static void
KeepVerifier(HvRoles *roles, int64 version)
{
	static const int noted[] = {
		HV_BINDING_VERSION, HV_BINDING_DRIFT, HV_BINDING_DRIFT_SINCE, HV_BINDING_GRACE_ENDS_AT, HV_BINDING_WAIT_UNTIL
	};
	static const int kept[] = {VERIFIER_TEXT, VERIFIER_SETTLED_AT};
	NullableDatum binding[] = {HvNotNull(Int64GetDatum(version)), null, null, null, null};
	bool		isnull;
	NullableDatum values[VERIFIER_COLUMNS] = {
		[VERIFIER_SECRET] = HvNotNull(HvField(&roles->bindings.scan, roles->next->row, HV_BINDING_SECRET, &isnull)),
		[VERIFIER_PLACE] = HvNotNull(roles->next->place),
		[VERIFIER_TEXT] = HvNotNull(CStringGetTextDatum(roles->verifier)),
		[VERIFIER_SETTLED_AT] = null,
	};

	HvUpdateRow(&roles->bindings, roles->next->row, lengthof(noted), noted, binding);
	if (roles->kept == NULL)
		HvInsertRow(&roles->verifiers, values);
	else
		HvUpdateRow(&roles->verifiers, roles->kept, lengthof(kept), kept, &values[VERIFIER_TEXT]);
}

/*
 * What the audit says of a change: the role that got the password, and the retiring one if there is one.
 */
static Datum
Details(const char *role, const char *retiring, TimestampTz valid_until)
{
	StringInfoData text;
	char		until[MAXDATELEN + 1];

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"role\":");
	escape_json(&text, role);
	if (retiring != NULL)
	{
		appendStringInfoString(&text, ",\"retiring\":");
		escape_json(&text, retiring);
		appendStringInfo(&text, ",\"valid_until\":\"%s\"",
						 JsonEncodeDateTime(until, TimestampTzGetDatum(valid_until), TIMESTAMPTZOID, NULL));
	}
	appendStringInfoChar(&text, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

Datum
HvGivePassword(HvRoles *roles, int64 version, TimestampTz stamp, int64 grace_secs)
{
	TimestampTz infinity = DT_NOEND;
	TimestampTz valid_until = 0;
	const char *retired = NULL;

	HvSettleAfterCommit();
	HvStoreLogin(roles->next->role, roles->verifier, roles->retiring == NULL ? NULL : &infinity);
	if (roles->retiring != NULL && HvIsAsBound(roles->retiring))
	{
		valid_until = BeginGrace(roles, stamp + grace_secs * USECS_PER_SEC, stamp);
		retired = roles->retiring->name;
	}
	KeepVerifier(roles, version);
	return Details(roles->next->name, retired, valid_until);
}
