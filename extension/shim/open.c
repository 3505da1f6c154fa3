/*
 * open.c: opens a sealed value with the server's own libcrypto (cipher.c), as core/envelope does.
 *
 * A call into Go wakes threads of its own, and the first one loads a runtime: a backend that only reads needs neither. Only
 * success is an answer here. What does not open goes to Go, which has the rule and the words, and so does every value
 * where the server was built without OpenSSL.
 */
#include "hyperion_vault.h"

#include "cipher.h"
#include "open.h"
#include "port/pg_bswap.h"
#include "secretmem.h"
#include "request.h"
#include "golib.h"
#include "utils/builtins.h"

/* how the answer to a request for keys begins that succeeded: it has no code */
static const unsigned char success[] = {HV_PROTOCOL_VERSION, HV_OP_UNWRAP, 0, 0, 0, 0};

/*
 * Key i of the n in the body of an agent's answer; NULL when that is not plainly n keys.
 */
const unsigned char *
HvPlainKey(HvBytes body, int i, int n)
{
	const size_t slot = sizeof(uint32) + HV_KEY_LEN;
	uint32		count = pg_hton32((uint32) n);
	uint32		len = pg_hton32(HV_KEY_LEN);
	const unsigned char *key;

	if (body.len != sizeof(success) + sizeof(count) + n * slot || memcmp(body.data, success, sizeof(success)) != 0 ||
		memcmp(body.data + sizeof(success), &count, sizeof(count)) != 0)
		return NULL;
	key = body.data + sizeof(success) + sizeof(count) + i * slot;
	return memcmp(key, &len, sizeof(len)) == 0 ? key + sizeof(len) : NULL;
}

/*
 * The answer to a request for one key, for Go, in wipe-on-reset memory.
 */
HvBytes
HvAnswerOf(const unsigned char *key)
{
	const uint32 numbers[] = {pg_hton32(1), pg_hton32(HV_KEY_LEN)};
	size_t		len = sizeof(success) + sizeof(numbers) + HV_KEY_LEN;
	unsigned char *body = HvSecretAlloc(len);

	memcpy(body, success, sizeof(success));
	memcpy(body + sizeof(success), numbers, sizeof(numbers));
	memcpy(body + sizeof(success) + sizeof(numbers), key, HV_KEY_LEN);
	return (HvBytes) {body, len};
}

/*
 * Open a value with the key in the answer of the agent by Go, which says why if it cannot. Palloc'd.
 */
bytea *
HvOpenByGo(HvBytes body, HvBinding *binding, HvStored *stored)
{
	HvBuf		opened = {NULL, 0};
	HvBytes		value;
	bytea	   *result;

	HV_CALL_GO(open, body, binding, stored, &opened);
	value = HvTakeBuf(&opened);
	result = (bytea *) cstring_to_text_with_len((const char *) value.data, value.len);
	HvSecretWipe(value.data);
	return result;
}

/*
 * The value of a version, sealed under a key that may be NULL, as a text or bytea; NULL if it did not open. Palloc'd; nothing
 * of a value that did not open is left.
 */
bytea *
HvOpenPlain(const unsigned char *key, const HvBinding *binding, const HvStored *stored)
{
	int			size = (int) stored->ciphertext.len - HV_TAG_LEN;
	bytea	   *result;

	if (key == NULL || stored->envelope_version != HV_ENVELOPE_VERSION || stored->nonce.len != HV_NONCE_LEN || size < 0)
		return NULL;
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	if (HvDecrypt(key, stored->nonce.data, binding, stored->ciphertext, (unsigned char *) VARDATA(result)))
		return result;
	explicit_bzero(VARDATA(result), size);
	pfree(result);
	return NULL;
}
