/*
 * open.c: opens a sealed value with the server's own libcrypto, as core/envelope does.
 *
 * A call into Go wakes threads of its own, and the first one loads a runtime: a backend that only reads needs neither. Only
 * success is an answer here. What does not open goes to Go, which has the rule and the words, and so does every value
 * where the server was built without OpenSSL.
 */
#include "hyperion_vault.h"

#include "open.h"
#include "port/pg_bswap.h"
#include "secretmem.h"
#include "request.h"
#include "golib.h"
#include "utils/builtins.h"

/* as in core/envelope */
#define ENVELOPE_VERSION	1
#define NONCE_LEN			24
#define TAG_LEN				16
#define AAD_LABEL			"hyperion-vault/secret/v1"

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

#if defined(USE_OPENSSL) && __has_include(<openssl/evp.h>)

#include <openssl/evp.h>

#include "lib/stringinfo.h"

/* kept for the session; what they hold of a key is wiped at each reset */
static EVP_CIPHER_CTX *context = NULL;
static const EVP_CIPHER *stream = NULL;
static const EVP_CIPHER *sealing = NULL;

static bool
PrepareCipher(void)
{
	if (context != NULL)
		return true;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	if (stream == NULL)
		stream = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	if (sealing == NULL)
		sealing = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
#else
	stream = EVP_chacha20();
	sealing = EVP_chacha20_poly1305();
#endif
	if (stream == NULL || sealing == NULL)
		return false;
	context = EVP_CIPHER_CTX_new();
	return context != NULL;
}

static uint32
WordAt(const unsigned char *from)
{
	return (uint32) from[0] | (uint32) from[1] << 8 | (uint32) from[2] << 16 | (uint32) from[3] << 24;
}

/*
 * HChaCha20: the key of an XChaCha20 with a key and the first 16 bytes of a nonce. A block of ChaCha20's stream is the end
 * state and the first one, added word by word; HChaCha20 is words of the end state alone.
 */
static bool
DeriveKey(const unsigned char *key, const unsigned char *nonce, unsigned char *derived)
{
	static const unsigned char zeros[64] = {0};
	static const unsigned char constants[16] = {
		'e', 'x', 'p', 'a', 'n', 'd', ' ', '3', '2', '-', 'b', 'y', 't', 'e', ' ', 'k'
	};
	unsigned char block[64];
	int			len = 0;
	bool		ok = EVP_EncryptInit_ex(context, stream, NULL, key, nonce) == 1 &&
		EVP_EncryptUpdate(context, block, &len, zeros, sizeof(zeros)) == 1 && len == sizeof(block);

	for (int i = 0; ok && i < 8; i++)
	{
		const unsigned char *end = i < 4 ? block + 4 * i : block + 32 + 4 * i;
		const unsigned char *first = i < 4 ? constants + 4 * i : nonce + 4 * (i - 4);
		uint32		word = WordAt(end) - WordAt(first);

		for (int b = 0; b < 4; b++)
			derived[4 * i + b] = (unsigned char) (word >> (8 * b));
	}
	explicit_bzero(block, sizeof(block));
	EVP_CIPHER_CTX_reset(context);
	return ok;
}

static void
AppendLength(StringInfo to, uint32 value)
{
	value = pg_hton32(value);
	appendBinaryStringInfo(to, (const char *) &value, sizeof(value));
}

/*
 * The associated data, as envelope.Binding.AAD makes it. Palloc'd.
 */
static StringInfoData
AssociatedData(const HvBinding *binding)
{
	StringInfoData aad;
	uint64		version = pg_hton64((uint64) binding->version);

	initStringInfo(&aad);
	appendBinaryStringInfo(&aad, AAD_LABEL, sizeof(AAD_LABEL));	/* with its zero byte */
	appendBinaryStringInfo(&aad, (const char *) binding->id.data, HV_ID_LEN);
	AppendLength(&aad, (uint32) binding->name.len);
	appendBinaryStringInfo(&aad, (const char *) binding->name.data, (int) binding->name.len);
	appendBinaryStringInfo(&aad, (const char *) &version, sizeof(version));
	AppendLength(&aad, (uint32) binding->content_type.len);
	appendBinaryStringInfo(&aad, (const char *) binding->content_type.data, (int) binding->content_type.len);
	return aad;
}

/*
 * Decrypt and check the tag. What was decrypted is the caller's to wipe, whether the tag matched or not.
 */
static bool
DecryptValue(const unsigned char *key, const HvBinding *binding, const HvStored *stored, unsigned char *value, int size)
{
	StringInfoData aad = AssociatedData(binding);
	unsigned char nonce[12] = {0};	/* four zeros, and the last eight bytes */
	const unsigned char *tag = stored->ciphertext.data + size;
	int			aad_len = 0;
	int			len = 0;
	int			last = 0;
	bool		ok;

	memcpy(nonce + 4, stored->nonce.data + 16, 8);
	ok = EVP_DecryptInit_ex(context, sealing, NULL, key, nonce) == 1 &&
		EVP_DecryptUpdate(context, NULL, &aad_len, (const unsigned char *) aad.data, aad.len) == 1 &&
		(size == 0 || EVP_DecryptUpdate(context, value, &len, stored->ciphertext.data, size) == 1) &&
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, (void *) tag) == 1 &&
		EVP_DecryptFinal_ex(context, value + len, &last) == 1 && len + last == size;
	EVP_CIPHER_CTX_reset(context);
	pfree(aad.data);
	return ok;
}

/*
 * The value of a version, sealed under a key that may be NULL, as a text or bytea; NULL if it did not open. Palloc'd; nothing
 * of a value that did not open is left.
 */
bytea *
HvOpenPlain(const unsigned char *key, const HvBinding *binding, const HvStored *stored)
{
	unsigned char derived[HV_KEY_LEN];
	int			size = (int) stored->ciphertext.len - TAG_LEN;
	bytea	   *result;
	bool		ok;

	if (key == NULL || stored->envelope_version != ENVELOPE_VERSION || stored->nonce.len != NONCE_LEN || size < 0 ||
		!PrepareCipher())
		return NULL;
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	ok = DeriveKey(key, stored->nonce.data, derived) &&
		DecryptValue(derived, binding, stored, (unsigned char *) VARDATA(result), size);
	explicit_bzero(derived, sizeof(derived));
	if (ok)
		return result;
	explicit_bzero(VARDATA(result), size);
	pfree(result);
	return NULL;
}

#else

bytea *
HvOpenPlain(const unsigned char *key, const HvBinding *binding, const HvStored *stored)
{
	return NULL;
}

#endif
