/*
 * scram.c: verifiers of SCRAM-SHA-256 (RFC 5802), with the iterations of the server's own libcrypto.
 *
 * The server's function prepares the key of an HMAC for each iteration, which takes most of its time. libcrypto has all of
 * them as PBKDF2, and prepares the key once (docs/decisions/0199). What a password is stays the server's rule. Where the
 * server was built without OpenSSL, its own function makes the verifier.
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

#if defined(USE_OPENSSL) && __has_include(<openssl/evp.h>)

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "common/base64.h"
#include "common/saslprep.h"

#define SALT_LEN		16
#define KEY_LEN			SHA256_DIGEST_LENGTH
#define TEXT_LEN		48		/* of a key in base64, with its zero byte */
#define MAX_ITERATIONS	100000	/* some tens of milliseconds, in which libcrypto cannot be interrupted */

/*
 * Compute the two keys that a verifier has. False if libcrypto fails.
 */
static bool
DeriveKeys(const char *password, const unsigned char *salt, unsigned char *stored, unsigned char *server)
{
	static const unsigned char client_label[] = "Client Key";
	static const unsigned char server_label[] = "Server Key";
	unsigned char salted[KEY_LEN];
	unsigned char client[KEY_LEN];
	bool		ok = PKCS5_PBKDF2_HMAC(password, (int) strlen(password), salt, SALT_LEN, scram_sha_256_iterations,
									   EVP_sha256(), KEY_LEN, salted) == 1 &&
		HMAC(EVP_sha256(), salted, KEY_LEN, client_label, sizeof(client_label) - 1, client, NULL) != NULL &&
		SHA256(client, KEY_LEN, stored) != NULL &&
		HMAC(EVP_sha256(), salted, KEY_LEN, server_label, sizeof(server_label) - 1, server, NULL) != NULL;

	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	return ok;
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
	unsigned char salt[SALT_LEN];
	unsigned char stored[KEY_LEN];
	unsigned char server[KEY_LEN];
	char		texts[3][TEXT_LEN];
	char	   *prepared;

	if (scram_sha_256_iterations > MAX_ITERATIONS)
		return NULL;
	/* As the server does it: what cannot be prepared is taken as it is. */
	if (pg_saslprep(password, &prepared) == SASLPREP_SUCCESS)
		password = prepared;
	if (!pg_strong_random(salt, SALT_LEN) || !DeriveKeys(password, salt, stored, server))
		return NULL;
	Encode(salt, SALT_LEN, texts[0]);
	Encode(stored, KEY_LEN, texts[1]);
	Encode(server, KEY_LEN, texts[2]);
	return psprintf("SCRAM-SHA-256$%d:%s$%s:%s", scram_sha_256_iterations, texts[0], texts[1], texts[2]);
}

#else

char *
HvMakeVerifier(const char *password)
{
	return NULL;
}

#endif
