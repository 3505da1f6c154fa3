/*
 * secret.c: the functions that create or read a secret, vault.create_secret() and vault.read_secret().
 *
 * Each is a body that HvRun runs: check the arguments, decide and read as vault_owner, ask the agent for the data
 * key, seal or open (seal.c, open.c), wipe.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "arg.h"
#include "call.h"
#include "golib.h"
#include "keylease.h"
#include "open.h"
#include "readonly.h"
#include "request.h"
#include "sealed.h"
#include "secretmem.h"
#include "text.h"
#include "utils/builtins.h"

/*
 * A version 4 UUID, palloc'd.
 */
HvBytes
HvNewId(void)
{
	unsigned char *id = palloc(HV_ID_LEN);

	if (!pg_strong_random(id, HV_ID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	id[6] = (id[6] & 0x0f) | 0x40;	/* RFC 9562, section 5.4 */
	id[8] = (id[8] & 0x3f) | 0x80;
	return (HvBytes) {id, HV_ID_LEN};
}

/*
 * A value that the policy generates, the default one for none.
 */
HvBytes
HvGenerateValue(HvBytes policy)
{
	HvBuf		value = {NULL, 0};

	HV_CALL_GO(generate, policy, &value);
	return HvTakeBuf(&value);
}

/*
 * The answer of the agent to the request for the data keys of n versions, from the first on.
 */
HvBytes
HvUnwrapKeys(HvCall *call, HvBinding *binding, HvStored *first, int n)
{
	HvBytes		action = HvLiteral(call->action);
	HvBytes		plain = HvPlainUnwrapRequest(&call->origin, action, binding, first, n);
	HvBuf		request = {NULL, 0};

	if (plain.len > 0)
		return HvAgentExchange(plain);
	HV_CALL_GO(unwrap_request, &call->origin, action, binding, first, n, &request);
	return HvAgentExchange(HvTakeBuf(&request));
}

/*
 * Check a content type argument; returns its canonical form, the default for null.
 */
HvBytes
HvContentTypeArg(FunctionCallInfo fcinfo, int arg)
{
	HvBytes		given = HvLiteral("");
	HvBuf		canonical = {NULL, 0};

	if (!PG_ARGISNULL(arg))
		given = HvTextBytes(PG_GETARG_TEXT_PP(arg));
	if (HvIsPlainType(given))
		return HvLiteral(pnstrdup((const char *) given.data, given.len));
	HV_CALL_GO(content_type, given, &canonical);
	return HvTakeBuf(&canonical);
}

static bool
IsAutomatic(NullableDatum kind)
{
	return strcmp(TextDatumGetCString(kind.value), "automatic") == 0;
}

/*
 * The value of a new secret: the argument, or for an automatic one a generated value.
 */
static HvBytes
NewValue(FunctionCallInfo fcinfo, HvBytes policy)
{
	if (!PG_ARGISNULL(1))
		return HvValueArg(fcinfo, 1);
	if (!IsAutomatic(Arg(fcinfo, 2)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("value must not be null"),
				 errhint("A value is generated only for an automatic secret.")));
	return HvGenerateValue(policy);
}

static Datum
CreateSecret(HvCall *call, FunctionCallInfo fcinfo, bool is_text)
{
	HvSettings	settings = {{
		[HV_DESCRIPTION] = Arg(fcinfo, 4),
		[HV_TAGS] = Arg(fcinfo, 5),
		[HV_ROTATION_INTERVAL] = Arg(fcinfo, 6),
		[HV_ROTATION_SCHEDULE] = Arg(fcinfo, 7),
		[HV_ROTATION_TIME_ZONE] = Arg(fcinfo, 8),
		[HV_ROTATION_WINDOW] = Arg(fcinfo, 9),
		[HV_ROTATION_PAUSED] = {(Datum) 0, true},
		[HV_GRACE_PERIOD] = Arg(fcinfo, 10),
		[HV_KEEP_VERSIONS] = Arg(fcinfo, 11),
		[HV_GENERATE_POLICY] = Arg(fcinfo, 12),
	}};
	HvBinding	binding;
	HvBytes		policy;
	HvBytes		content_type;
	HvBytes		value;
	HvStored	stored;

	HvLogEnter("create_secret");
	RequireArg(fcinfo, 0, "name");
	RequireArg(fcinfo, 2, "kind");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	HvRequire(call, call->action);
	HvRequireWritable();
	policy = HvCheckSettings(&settings);
	content_type = HvContentTypeArg(fcinfo, 3);
	if (is_text && !PG_ARGISNULL(1))
		HvCheckGivenText(content_type);
	value = NewValue(fcinfo, policy);
	binding = (HvBinding) {HvNewId(), call->name, HvFirstVersion(call), content_type};
	if (policy.len > 0 || !HvIsPlainType(content_type))
		HV_CALL_GO(check_field, policy, IsAutomatic(Arg(fcinfo, 2)), content_type, value);
	HvSealValue(call, &binding, value, &stored);
	return Int64GetDatum(HvInsertSecret(call, &binding, Arg(fcinfo, 2), &settings, &stored));
}

/*
 * The value of one version, the first found; the caller wipes it.
 */
HvBytes
HvOpenFirst(HvCall *call, HvOpenable *found)
{
	HvBinding	binding = {found->id, call->name, found->versions[0].version, found->content_type};
	HvBytes		body = HvUnwrapKeys(call, &binding, found->versions, 1);
	HvBuf		opened = {NULL, 0};

	HV_CALL_GO(open, body, &binding, found->versions, &opened);
	HvSecretWipe(body.data);
	return HvTakeBuf(&opened);
}

/*
 * The value of the one version found, as a text or bytea: with a leased key, one to lease, or one for this read only.
 */
static bytea *
OpenResult(HvCall *call, HvOpenable *found)
{
	HvStored   *stored = found->versions;
	HvBinding	binding = {found->id, call->name, stored->version, found->content_type};
	bytea	   *result = HvOpenLeased(call, &binding, stored);
	HvBytes		body;

	if (result == NULL)
		result = HvOpenLeasing(call, &binding, stored);
	if (result != NULL)
		return result;
	body = HvUnwrapKeys(call, &binding, stored, 1);
	result = HvOpenPlain(HvPlainKey(body, 0, 1), &binding, stored);
	if (result == NULL)
		result = HvOpenByGo(body, &binding, stored);
	HvSecretWipe(body.data);
	return result;
}

static Datum
ReadSecret(HvCall *call, FunctionCallInfo fcinfo, bool as_text)
{
	HvOpenable	found;
	bytea	   *result;

	RequireArg(fcinfo, 0, "name");
	HvCheckName(call, PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
	{
		call->version = PG_GETARG_INT64(1);
		if (call->version < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("version must be at least 1")));
	}
	HvFindReadable(call, &found);
	if (as_text)
		HvCheckReadableText(found.content_type);
	result = OpenResult(call, &found);
	HvLogGive();
	return PointerGetDatum(result);
}

static Datum
CreateText(HvCall *call, FunctionCallInfo fcinfo)
{
	return CreateSecret(call, fcinfo, true);
}

static Datum
CreateBytes(HvCall *call, FunctionCallInfo fcinfo)
{
	return CreateSecret(call, fcinfo, false);
}

static Datum
ReadText(HvCall *call, FunctionCallInfo fcinfo)
{
	return ReadSecret(call, fcinfo, true);
}

static Datum
ReadBytes(HvCall *call, FunctionCallInfo fcinfo)
{
	return ReadSecret(call, fcinfo, false);
}

/* The SQL functions. */

HV_FUNCTION(hv_create_secret, "create", CreateText)
HV_FUNCTION(hv_create_secret_bytes, "create", CreateBytes)
HV_FUNCTION(hv_read_secret, "read", ReadText)
HV_FUNCTION(hv_read_secret_bytes, "read", ReadBytes)
