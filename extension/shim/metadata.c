/*
 * metadata.c: the plaintext functions that touch no value, for settings, the end of a grace period and deletion.
 */
#include "hyperion_vault.h"

#include "arg.h"
#include "call.h"
#include "golib.h"
#include "sealed.h"
#include "text.h"
#include "utils/builtins.h"

/*
 * Check what of the settings is not SQL's to check; returns the generation policy as JSON, empty for none.
 */
HvBytes
HvCheckSettings(const HvSettings *settings)
{
	NullableDatum schedule = settings->values[HV_ROTATION_SCHEDULE];
	NullableDatum policy = settings->values[HV_GENERATE_POLICY];
	HvBytes		json = {NULL, 0};

	if (!schedule.isnull)
		HV_CALL_GO(check_schedule, HvLiteral(TextDatumGetCString(schedule.value)));
	if (policy.isnull)
		return json;
	json = HvJsonText(policy.value);
	HV_CALL_GO(check_policy, json);
	return json;
}

/*
 * Arguments 1 to 10 are the settings, in their order.
 */
static Datum
ConfigureSecret(HvCall *call, FunctionCallInfo fcinfo)
{
	HvSettings	settings;
	HvBytes		policy;
	HvLocked	locked;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	for (int i = 0; i < HV_SETTINGS; i++)
		settings.values[i] = Arg(fcinfo, 1 + i);
	policy = HvCheckSettings(&settings);
	HvLock(call, "update", (NullableDatum) {(Datum) 0, true}, &locked);
	if (policy.len > 0)
		HV_CALL_GO(check_field, policy, locked.automatic, locked.content_type, (HvBytes) {NULL, 0});
	HvConfigure(call, &locked, &settings);
	PG_RETURN_VOID();
}

static Datum
ExpireVersion(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;

	RequireArg(fcinfo, 0, "name");
	RequireArg(fcinfo, 1, "version");
	RequireArg(fcinfo, 2, "grace_secs");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	call->version = PG_GETARG_INT64(1);
	HvLock(call, "rotate", (NullableDatum) {(Datum) 0, true}, &locked);
	HvExpireVersion(call, &locked, call->version, PG_GETARG_INT64(2));
	PG_RETURN_VOID();
}

static Datum
DeleteSecret(HvCall *call, FunctionCallInfo fcinfo)
{
	HvLocked	locked;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvLock(call, call->action, Arg(fcinfo, 1), &locked);
	HvDelete(call, &locked);
	PG_RETURN_VOID();
}

HV_FUNCTION(hv_configure_secret, "configure", ConfigureSecret)
HV_FUNCTION(hv_expire_version, "expire", ExpireVersion)
HV_FUNCTION(hv_delete_secret, "delete", DeleteSecret)

PG_FUNCTION_INFO_V1(hv_check_name);

/*
 * ereport unless the text can be a name.
 */
Datum
hv_check_name(PG_FUNCTION_ARGS)
{
	HV_CALL_GO(check_name, HvTextBytes(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(hv_check_pattern);

/*
 * ereport unless the text is a pattern of names.
 */
Datum
hv_check_pattern(PG_FUNCTION_ARGS)
{
	HV_CALL_GO(check_pattern, HvTextBytes(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
