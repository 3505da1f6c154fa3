/*
 * cipher.c: XChaCha20-Poly1305 with the server's own libcrypto, as core/envelope seals and opens.
 *
 * libcrypto has ChaCha20-Poly1305, and a block of its ChaCha20 gives the key that the longer nonce needs. So there is no
 * cipher of our own. Where the server was built without OpenSSL both functions fail, and Go does it.
 */
#include "hyperion_vault.h"

#include "cipher.h"

#if defined(USE_OPENSSL) && __has_include(<openssl/evp.h>)

#include <openssl/evp.h>

#include "lib/stringinfo.h"
#include "port/pg_bswap.h"

#define AAD_LABEL			"hyperion-vault/secret/v1"	/* as in core/envelope */
#define SHORT_NONCE_LEN		12	/* of ChaCha20-Poly1305 */

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
 * Begin to seal or to open: derive the key and the nonce of ChaCha20-Poly1305, and take the associated data in.
 */
static bool
BeginCipher(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, bool seals)
{
	unsigned char derived[HV_KEY_LEN];
	unsigned char rest[SHORT_NONCE_LEN] = {0};	/* four zeros, and the last eight bytes */
	StringInfoData aad = AssociatedData(binding);
	int			len = 0;
	bool		ok;

	memcpy(rest + 4, nonce + 16, 8);
	ok = PrepareCipher() && DeriveKey(key, nonce, derived) &&
		EVP_CipherInit_ex(context, sealing, NULL, derived, rest, seals) == 1 &&
		EVP_CipherUpdate(context, NULL, &len, (const unsigned char *) aad.data, aad.len) == 1;
	explicit_bzero(derived, sizeof(derived));
	pfree(aad.data);
	return ok;
}

/*
 * Encrypt or decrypt bytes between BeginCipher and the end.
 */
static bool
Transform(HvBytes from, unsigned char *to)
{
	int			len = 0;

	return from.len == 0 || (EVP_CipherUpdate(context, to, &len, from.data, (int) from.len) == 1 && len == (int) from.len);
}

static bool
EndCipher(unsigned char *to)
{
	int			len = 0;

	return EVP_CipherFinal_ex(context, to, &len) == 1 && len == 0;
}

/*
 * Wipe what the context holds of a key.
 */
static void
ForgetKey(void)
{
	if (context != NULL)
		EVP_CIPHER_CTX_reset(context);
}

/*
 * Encrypt a value, which is shorter than 2 GB, into HV_TAG_LEN bytes more. False if that failed.
 */
bool
HvEncrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes value,
		  unsigned char *ciphertext)
{
	bool		ok = BeginCipher(key, nonce, binding, true) && Transform(value, ciphertext) &&
		EndCipher(ciphertext + value.len) &&
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, HV_TAG_LEN, ciphertext + value.len) == 1;

	ForgetKey();
	return ok;
}

/*
 * Decrypt HV_TAG_LEN bytes and more, and check the tag. False if it does not match: what was decrypted is then the caller's to
 * wipe.
 */
bool
HvDecrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes ciphertext,
		  unsigned char *value)
{
	HvBytes		encrypted = {ciphertext.data, ciphertext.len - HV_TAG_LEN};
	const unsigned char *tag = ciphertext.data + encrypted.len;
	bool		ok = BeginCipher(key, nonce, binding, false) && Transform(encrypted, value) &&
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, HV_TAG_LEN, (void *) tag) == 1 &&
		EndCipher(value + encrypted.len);

	ForgetKey();
	return ok;
}

#else

bool
HvEncrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes value,
		  unsigned char *ciphertext)
{
	return false;
}

bool
HvDecrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes ciphertext,
		  unsigned char *value)
{
	return false;
}

#endif
