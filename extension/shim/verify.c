/*
 * verify.c: the functions that compare a candidate with the valid versions, and give no value.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "arg.h"
#include "call.h"
#include "golib.h"
#include "open.h"
#include "request.h"
#include "sealed.h"
#include "secretmem.h"
#include "text.h"

/*
 * The newest valid version that equals the candidate argument, 0 for none. Every version is opened and compared,
 * whichever matches.
 */
static int64
MatchedVersion(HvCall *call, FunctionCallInfo fcinfo, bool is_text)
{
	HvOpenable	found;
	HvBinding	binding;
	HvBytes		candidate;
	int64		matched = 0;

	HvLogEnter("verify");
	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvFindOpenable(call, &found);
	candidate = PG_ARGISNULL(1) ? (HvBytes) {NULL, 0} : HvValueArg(fcinfo, 1);
	for (int i = 0; i < found.n; i += HV_KEYS_PER_REQUEST)
	{
		int			n = Min(found.n - i, HV_KEYS_PER_REQUEST);
		int64_t		version = 0;
		HvBytes		body;

		binding = (HvBinding) {found.id, call->name, found.versions[i].version, found.content_type};
		body = HvUnwrapKeys(call, &binding, found.versions + i, n);
		HV_CALL_GO(verify, body, &binding, found.versions + i, n, candidate, &version);
		HvSecretWipe(body.data);
		if (matched == 0)
			matched = version;
	}
	return PG_ARGISNULL(1) ? 0 : matched;
}

static Datum
VerifyText(HvCall *call, FunctionCallInfo fcinfo)
{
	/* Null is no value: false, not null, for a caller's IF NOT must not let it pass. */
	return BoolGetDatum(MatchedVersion(call, fcinfo, true) != 0);
}

static Datum
VerifyBytes(HvCall *call, FunctionCallInfo fcinfo)
{
	return BoolGetDatum(MatchedVersion(call, fcinfo, false) != 0);
}

static Datum
VersionResult(FunctionCallInfo fcinfo, int64 version)
{
	if (version == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(version);
}

static Datum
VerifyVersionText(HvCall *call, FunctionCallInfo fcinfo)
{
	return VersionResult(fcinfo, MatchedVersion(call, fcinfo, true));
}

static Datum
VerifyVersionBytes(HvCall *call, FunctionCallInfo fcinfo)
{
	return VersionResult(fcinfo, MatchedVersion(call, fcinfo, false));
}

/* The SQL functions. */

HV_FUNCTION(hv_verify, "verify", VerifyText)
HV_FUNCTION(hv_verify_bytes, "verify", VerifyBytes)
HV_FUNCTION(hv_verify_version, "verify", VerifyVersionText)
HV_FUNCTION(hv_verify_version_bytes, "verify", VerifyVersionBytes)
