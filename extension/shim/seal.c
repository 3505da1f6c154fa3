/*
 * seal.c: seals a value under a new data key, by libcrypto (cipher.c) in ordinary cases.
 *
 * Everything else goes to Go, as in open.c. Go has the rules, and the messages about what breaks them.
 */
#include "hyperion_vault.h"

#include "agent.h"
#include "cipher.h"
#include "golib.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "request.h"
#include "sealed.h"
#include "secretmem.h"

/* what is not read yet of the body of an answer */
typedef struct Rest
{
	const unsigned char *at;
	size_t		len;
} Rest;

/*
 * Take bytes that have their length in front.
 */
static bool
TakeBytes(Rest *rest, HvBytes *bytes)
{
	uint32		len;

	if (rest->len < sizeof(len))
		return false;
	memcpy(&len, rest->at, sizeof(len));
	len = pg_ntoh32(len);
	if (rest->len - sizeof(len) < len)
		return false;
	*bytes = (HvBytes) {rest->at + sizeof(len), len};
	rest->at += sizeof(len) + len;
	rest->len -= sizeof(len) + len;
	return true;
}

/*
 * Read the answer to the request for a new data key, whose parts then point into it. False when it is not plainly that.
 */
static bool
ReadNewKey(HvBytes body, HvBytes *key, HvBytes *key_id, HvBytes *wrapped)
{
	static const unsigned char success[] = {HV_PROTOCOL_VERSION, HV_OP_GENERATE, 0, 0, 0, 0};	/* it has no code */
	Rest		rest = {body.data + sizeof(success), body.len - sizeof(success)};

	return body.len > sizeof(success) && memcmp(body.data, success, sizeof(success)) == 0 &&
		TakeBytes(&rest, key) && TakeBytes(&rest, key_id) && TakeBytes(&rest, wrapped) && rest.len == 0 &&
		key->len == HV_KEY_LEN && HvIsPlainKey(*key_id, *wrapped) &&
		pg_verify_mbstr(PG_UTF8, (const char *) key_id->data, (int) key_id->len, true);
}

static HvBytes
CopyOf(HvBytes bytes)
{
	unsigned char *copy = palloc(bytes.len + 1);

	memcpy(copy, bytes.data, bytes.len);
	copy[bytes.len] = '\0';
	return (HvBytes) {copy, bytes.len};
}

/*
 * Seal a plain value with the key in an answer of the agent; false when Go has to, or to say why not. The parts are palloc'd.
 */
static bool
SealPlain(HvBytes body, const HvBinding *binding, HvBytes value, HvStored *stored)
{
	HvBytes		key;
	HvBytes		key_id;
	HvBytes		wrapped;
	unsigned char *nonce;
	unsigned char *ciphertext;

	if (!HvIsName(binding->name) || !ReadNewKey(body, &key, &key_id, &wrapped))
		return false;
	nonce = palloc(HV_NONCE_LEN);
	ciphertext = palloc(value.len + HV_TAG_LEN);
	if (!pg_strong_random(nonce, HV_NONCE_LEN) || !HvEncrypt(key.data, nonce, binding, value, ciphertext))
		return false;
	stored->envelope_version = HV_ENVELOPE_VERSION;
	stored->key_id = CopyOf(key_id);
	stored->wrapped = CopyOf(wrapped);
	stored->nonce = (HvBytes) {nonce, HV_NONCE_LEN};
	stored->ciphertext = (HvBytes) {ciphertext, value.len + HV_TAG_LEN};
	return true;
}

static void
SealByGo(HvBytes body, HvBinding *binding, HvBytes value, HvStored *stored)
{
	HvSealed	sealed = {0};

	HV_CALL_GO(seal, body, binding, value, &sealed);
	stored->envelope_version = sealed.envelope_version;
	stored->key_id = HvTakeBuf(&sealed.key_id);
	stored->wrapped = HvTakeBuf(&sealed.wrapped);
	stored->nonce = HvTakeBuf(&sealed.nonce);
	stored->ciphertext = HvTakeBuf(&sealed.ciphertext);
}

/*
 * The request for the data key of a new version, framed.
 */
static HvBytes
NewKeyRequest(HvCall *call, HvBinding *binding)
{
	HvBytes		plain = HvPlainGenerateRequest(&call->origin, binding);
	HvBuf		request = {NULL, 0};

	if (plain.len > 0)
		return plain;
	HV_CALL_GO(generate_request, &call->origin, binding, &request);
	return HvTakeBuf(&request);
}

/*
 * Seal a value under a new data key. The parts are palloc'd; the key is wiped.
 */
void
HvSealValue(HvCall *call, HvBinding *binding, HvBytes value, HvStored *stored)
{
	bool		plain = HvIsPlainValue(binding->content_type, value);
	HvBytes		body;

	if (!plain)
		HV_CALL_GO(check_value, binding->content_type, value, HvMaxValueBytes);
	body = HvAgentExchange(NewKeyRequest(call, binding));
	if (!plain || !SealPlain(body, binding, value, stored))
		SealByGo(body, binding, value, stored);
	HvSecretWipe(body.data);
	stored->version = binding->version;
}
