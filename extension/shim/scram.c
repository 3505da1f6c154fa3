/*
 * scram.c: verifiers of SCRAM-SHA-256 (RFC 5802), with the iterations by the block function of the server's own libcrypto.
 *
 * The server's function prepares the key of an HMAC for each iteration, and PBKDF2 of libcrypto 3 copies two contexts on the
 * heap for each. Both take several times as long as the hash itself. An iteration is two blocks of SHA-256 that begin where the
 * two halves of the key ended, so it is made of these (docs/decisions/0222). What a password is stays the server's rule. Where
 * the server was built without OpenSSL, its own function makes the verifier.
 */
#include "hyperion_vault.h"

#include "scram.h"

/* libpq/scram.h needs the headers of GSSAPI, which few machines have. */
#if PG_VERSION_NUM >= 160000
extern PGDLLIMPORT int scram_sha_256_iterations;
#else
static const int scram_sha_256_iterations = 4096;
#endif

int
HvScramIterations(void)
{
	return scram_sha_256_iterations;
}

#if defined(USE_OPENSSL) && __has_include(<openssl/sha.h>)

#define OPENSSL_SUPPRESS_DEPRECATED		/* the functions of SHA-256 without a context on the heap are deprecated, and stay */
#include <openssl/sha.h>

#include "common/base64.h"
#include "common/saslprep.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"

#define SALT_LEN		16
#define KEY_LEN			SHA256_DIGEST_LENGTH
#define TEXT_LEN		48		/* of a key in base64, with its zero byte */
#define UNINTERRUPTED	4096	/* iterations, about a millisecond */

/* HMAC-SHA-256 of one key: what is hashed begins with a block of the key, on the inside and on the outside */
typedef struct Keyed
{
	SHA256_CTX	inner;
	SHA256_CTX	outer;
} Keyed;

/* all that is derived from a password on the way to a verifier */
typedef struct Derivation
{
	Keyed		key;
	SHA256_CTX	hash;
	unsigned char block[SHA256_CBLOCK];
	unsigned char salted[KEY_LEN];
	unsigned char client[KEY_LEN];
	unsigned char stored[KEY_LEN];
	unsigned char server[KEY_LEN];
} Derivation;

/*
 * Have a hash begin with a block of the key, each byte of which differs by the bits of pad.
 */
static void
BeginWithKey(SHA256_CTX *hash, unsigned char *block, const unsigned char *key, size_t len, unsigned char pad)
{
	memset(block, pad, SHA256_CBLOCK);
	for (size_t i = 0; i < len; i++)
		block[i] ^= key[i];
	SHA256_Init(hash);
	SHA256_Update(hash, block, SHA256_CBLOCK);
}

/*
 * Set the key of the HMACs that follow. One that is longer than a block is hashed, by the rule of HMAC.
 */
static void
SetKey(Derivation *d, const unsigned char *key, size_t len)
{
	unsigned char *hashed = d->client;		/* not used yet */

	if (len > SHA256_CBLOCK)
	{
		SHA256_Init(&d->hash);
		SHA256_Update(&d->hash, key, len);
		SHA256_Final(hashed, &d->hash);
		key = hashed;
		len = KEY_LEN;
	}
	BeginWithKey(&d->key.inner, d->block, key, len, 0x36);
	BeginWithKey(&d->key.outer, d->block, key, len, 0x5c);
}

/*
 * The HMAC of two texts in a row.
 */
static void
Hmac(Derivation *d, const void *first, size_t first_len, const void *second, size_t second_len, unsigned char *mac)
{
	d->hash = d->key.inner;
	SHA256_Update(&d->hash, first, first_len);
	SHA256_Update(&d->hash, second, second_len);
	SHA256_Final(mac, &d->hash);
	d->hash = d->key.outer;
	SHA256_Update(&d->hash, mac, KEY_LEN);
	SHA256_Final(mac, &d->hash);
}

/*
 * Hash the block behind one of the key, and have the result be the beginning of the block.
 */
static void
HashBlock(Derivation *d, const SHA256_CTX *key)
{
	d->hash = *key;
	SHA256_Transform(&d->hash, d->block);
	for (int i = 0; i < KEY_LEN / sizeof(uint32); i++)
	{
		uint32		word = pg_hton32(d->hash.h[i]);

		memcpy(d->block + i * sizeof(word), &word, sizeof(word));
	}
}

/*
 * The salted password: the HMAC of the salt, and of what came out last as often as there are iterations, all of them added.
 */
static void
Iterate(Derivation *d, const unsigned char *salt)
{
	static const unsigned char number[] = {0, 0, 0, 1};

	Hmac(d, salt, SALT_LEN, number, sizeof(number), d->salted);
	/* A text of the length of a result is one block with its end: a bit, and the length in bits with that of the key's block. */
	memset(d->block, 0, SHA256_CBLOCK);
	memcpy(d->block, d->salted, KEY_LEN);
	d->block[KEY_LEN] = 0x80;
	d->block[SHA256_CBLOCK - 2] = (SHA256_CBLOCK + KEY_LEN) * 8 >> 8;
	for (int i = 1; i < scram_sha_256_iterations; i++)
	{
		if (i % UNINTERRUPTED == 0)
			CHECK_FOR_INTERRUPTS();
		HashBlock(d, &d->key.inner);
		HashBlock(d, &d->key.outer);
		for (int j = 0; j < KEY_LEN; j++)
			d->salted[j] ^= d->block[j];
	}
}

/*
 * Compute the two keys that a verifier has.
 */
static void
DeriveKeys(Derivation *d, const char *password, const unsigned char *salt)
{
	static const char client_label[] = "Client Key";
	static const char server_label[] = "Server Key";

	SetKey(d, (const unsigned char *) password, strlen(password));
	Iterate(d, salt);
	SetKey(d, d->salted, KEY_LEN);
	Hmac(d, client_label, sizeof(client_label) - 1, NULL, 0, d->client);
	Hmac(d, server_label, sizeof(server_label) - 1, NULL, 0, d->server);
	SHA256_Init(&d->hash);
	SHA256_Update(&d->hash, d->client, KEY_LEN);
	SHA256_Final(d->stored, &d->hash);
}

/*
 * Write bytes in base64, with a zero byte after them.
 */
static void
Encode(const unsigned char *bytes, int len, char *text)
{
	int			written = pg_b64_encode((const void *) bytes, len, text, TEXT_LEN - 1);

	if (written < 0)
		elog(ERROR, "a key of a verifier has not its length");
	text[written] = '\0';
}

char *
HvMakeVerifier(const char *password)
{
	Derivation *derivation = palloc(sizeof(*derivation));
	unsigned char salt[SALT_LEN];
	char		texts[3][TEXT_LEN];
	char	   *prepared;

	/* As the server does it: what cannot be prepared is taken as it is. */
	if (pg_saslprep(password, &prepared) == SASLPREP_SUCCESS)
		password = prepared;
	if (!pg_strong_random(salt, SALT_LEN))
		return NULL;
	DeriveKeys(derivation, password, salt);
	Encode(salt, SALT_LEN, texts[0]);
	Encode(derivation->stored, KEY_LEN, texts[1]);
	Encode(derivation->server, KEY_LEN, texts[2]);
	return psprintf("SCRAM-SHA-256$%d:%s$%s:%s", scram_sha_256_iterations, texts[0], texts[1], texts[2]);
}

#else

char *
HvMakeVerifier(const char *password)
{
	return NULL;
}

#endif
