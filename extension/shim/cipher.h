/*
 * cipher.h: encrypts and decrypts values without Go.
 */
#ifndef HV_CIPHER_H
#define HV_CIPHER_H

#include "hyperion_vault.h"

/* as in core/envelope */
#define HV_ENVELOPE_VERSION	1
#define HV_KEY_LEN			32	/* bytes of a data key */
#define HV_NONCE_LEN		24
#define HV_TAG_LEN			16

extern bool HvEncrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes value,
					  unsigned char *ciphertext);
extern bool HvDecrypt(const unsigned char *key, const unsigned char *nonce, const HvBinding *binding, HvBytes ciphertext,
					  unsigned char *value);

#endif
