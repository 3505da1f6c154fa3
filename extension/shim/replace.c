/*
 * replace.c: the functions that store another value of a secret, vault.update_secret() and vault.rotate_secret().
 *
 * The value of a secret that is bound to a role is its password, whose verifier takes longer to compute than all the rest. So
 * value and verifier are made before the secret is locked, from what the secret is then. Once it is locked, they are made again
 * if it has changed (docs/decisions/0213).
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "golib.h"
#include "request.h"
#include "roleverifier.h"
#include "sealed.h"
#include "secretmem.h"
#include "text.h"

/* one call of vault.update_secret() */
typedef struct Update
{
	HvCall	   *call;
	HvBytes		value;
	bool		is_text;
} Update;

/*
 * Seal a value as the next version of a locked secret. The password is ready if that is bound to a role.
 */
static Datum
SupersedeVersion(HvCall *call, const HvLocked *locked, HvBytes value, const HvPassword *password, bool reschedule)
{
	HvBinding	binding = {locked->id, call->name, locked->current_version + 1, locked->content_type};
	HvStored	stored;

	if (locked->bound)
		HvOfferPassword(locked, password);
	HvSealValue(call, &binding, value, &stored);
	return Int64GetDatum(HvAppendVersion(call, &binding, &stored, reschedule));
}

/*
 * Check a new value by what a secret is, and make the password that it is.
 */
static void
CheckUpdate(const Update *update, const HvLocked *secret, HvPassword *password)
{
	/* A driver that sends bytes as text may have changed or cut them. Text given as bytes is what it was, and is checked. */
	if (update->is_text)
		HvCheckGivenText(secret->content_type);
	if (secret->policy.len > 0)
		HV_CALL_GO(check_field, secret->policy, secret->automatic, secret->content_type, update->value);
	if (secret->bound)
		HvMakePassword(secret, update->value, HvRoleToName(secret), password);
}

static Datum
UpdateSecret(HvCall *call, FunctionCallInfo fcinfo, bool is_text)
{
	NullableDatum expected_version = Arg(fcinfo, 2);
	Update		update = {call, {NULL, 0}, is_text};
	HvPassword	password = {NULL, NULL};
	HvLocked	seen;
	HvLocked	locked;
	bool		is_locked;

	HvLogEnter("update_secret");
	RequireArg(fcinfo, 0, "name");
	RequireArg(fcinfo, 1, "value");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	is_locked = HvLockUnlessBound(call, call->action, expected_version, &seen);
	if (expected_version.isnull && seen.conditional)
		HvRequireCondition(call);
	update.value = HvValueArg(fcinfo, 1);
	CheckUpdate(&update, &seen, &password);
	if (is_locked)
		return SupersedeVersion(call, &seen, update.value, &password, false);
	HvLockAllowed(call, expected_version, &locked);
	if (expected_version.isnull && locked.conditional)
		HvRequireCondition(call);
	if (!HvIsAsSeen(&seen, &locked) || !HvIsForNext(&locked, &password))
		CheckUpdate(&update, &locked, &password);
	return SupersedeVersion(call, &locked, update.value, &password, false);
}

/*
 * The generated value that a rotation makes current, or the current one with a field of it generated. Empty if the secret is
 * at another version than it was seen at.
 */
static HvBytes
Generate(HvCall *call, const HvLocked *secret)
{
	HvOpenable	found;
	HvBytes		current;
	HvBuf		next = {NULL, 0};
	int			replaces;

	HV_CALL_GO(policy_field, secret->policy, &replaces);
	if (!replaces)
		return HvGenerateValue(secret->policy);
	HvFindReadable(call, &found);
	if (found.versions[0].version != secret->current_version)
		return (HvBytes) {NULL, 0};
	current = HvOpenFirst(call, &found);
	HV_CALL_GO(replace, secret->policy, current, &next);
	HvSecretWipe(current.data);
	return HvTakeBuf(&next);
}

/*
 * Make the value that a rotation of a secret makes current, and the password that it is.
 */
static HvBytes
NextValue(HvCall *call, const HvLocked *secret, HvPassword *password)
{
	const char *role = secret->bound ? HvRoleToName(secret) : NULL;
	HvBytes		value;

	if (!secret->automatic && secret->policy.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret \"%s\" is manual and has no generate_policy", (const char *) call->name.data),
				 errhint("Give it a new value with vault.update_secret().")));
	value = Generate(call, secret);
	if (value.data == NULL || !secret->bound)
		return value;
	value = HvForRole(value, role);
	HvMakePassword(secret, value, role, password);
	return value;
}

static Datum
RotateSecret(HvCall *call, FunctionCallInfo fcinfo)
{
	NullableDatum any_version = {(Datum) 0, true};
	bool		reschedule = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	HvPassword	password = {NULL, NULL};
	HvLocked	seen;
	HvLocked	locked;
	HvBytes		value;
	bool		is_locked;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	is_locked = HvLockUnlessBound(call, call->action, any_version, &seen);
	value = NextValue(call, &seen, &password);
	locked = seen;
	if (!is_locked)
		HvLockAllowed(call, any_version, &locked);
	if (!is_locked && (value.data == NULL || !HvIsAsSeen(&seen, &locked) || !HvIsForNext(&locked, &password)))
	{
		if (value.data != NULL)
			HvSecretWipe(value.data);
		value = NextValue(call, &locked, &password);
	}
	if (value.data == NULL)
		elog(ERROR, "a locked secret has changed");
	return SupersedeVersion(call, &locked, value, &password, reschedule);
}

static Datum
UpdateText(HvCall *call, FunctionCallInfo fcinfo)
{
	return UpdateSecret(call, fcinfo, true);
}

static Datum
UpdateBytes(HvCall *call, FunctionCallInfo fcinfo)
{
	return UpdateSecret(call, fcinfo, false);
}

/* The SQL functions. */

HV_FUNCTION(hv_update_secret, "update", UpdateText)
HV_FUNCTION(hv_update_secret_bytes, "update", UpdateBytes)
HV_FUNCTION(hv_rotate_secret, "rotate", RotateSecret)
