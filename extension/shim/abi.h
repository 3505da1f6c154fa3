/*
 * abi.h: the C types that cross between the shim and hyperion_vault_go.so.
 *
 * Every call: 0 and results through out-pointers, or nonzero and *err filled. What the Go side fills is malloc'd;
 * the C side copies it, wipes it and frees it before any ereport. Inputs are borrowed for the call. No PostgreSQL
 * header is needed here, for Go includes this file too.
 */
#ifndef HV_ABI_H
#define HV_ABI_H

#include <stddef.h>
#include <stdint.h>

/*
 * Number of this border. A package upgrade replaces the Go library while running servers keep the shim that they have
 * preloaded, so the shim compares the two. Raise it with every change of this file or of HvGoCalls in golib.h.
 */
#define HV_ABI_VERSION 2

/* borrowed bytes; data may be NULL when len is 0 */
typedef struct HvBytes
{
	const unsigned char *data;
	size_t		len;
} HvBytes;

/* bytes malloc'd by the Go side; empty is {NULL, 0} */
typedef struct HvBuf
{
	unsigned char *data;
	size_t		len;
} HvBuf;

/* why a call failed: a code of core.Code and a text that holds no value, key or token. Both end in a zero byte. */
typedef struct HvError
{
	char		code[24];
	char		message[488];
} HvError;

/* who asks, as the key agent records it */
typedef struct HvOrigin
{
	HvBytes		database;
	HvBytes		role;
	HvBytes		session_role;
	HvBytes		client_addr;
	HvBytes		request_id;
} HvOrigin;

/* what a value is sealed as; id holds 16 bytes */
typedef struct HvBinding
{
	HvBytes		id;
	HvBytes		name;
	int64_t		version;
	HvBytes		content_type;
} HvBinding;

/* one stored version, sealed */
typedef struct HvStored
{
	int64_t		version;
	int32_t		envelope_version;
	HvBytes		key_id;
	HvBytes		wrapped;
	HvBytes		nonce;
	HvBytes		ciphertext;
} HvStored;

/* one freshly sealed version */
typedef struct HvSealed
{
	int32_t		envelope_version;
	HvBuf		key_id;
	HvBuf		wrapped;
	HvBuf		nonce;
	HvBuf		ciphertext;
} HvSealed;

#define HV_KEYS_PER_REQUEST 64	/* as core/frame.MaxKeys */

#endif
