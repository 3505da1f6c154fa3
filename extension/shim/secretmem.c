/*
 * secretmem.c: memory for keys and plaintext.
 */
#include "hyperion_vault.h"

#include "secretmem.h"
#include "utils/memutils.h"

/* stands before the bytes handed out */
typedef struct HvSecret
{
	MemoryContextCallback callback;
	Size		len;
	unsigned char data[FLEXIBLE_ARRAY_MEMBER];
} HvSecret;

static void
WipeCallback(void *arg)
{
	HvSecret   *secret = arg;

	explicit_bzero(secret->data, secret->len);
}

/*
 * Palloc'd in the current context, wiped at its reset or deletion; NULL when memory is out. Never pfree it.
 */
unsigned char *
HvSecretAllocNoOom(Size len)
{
	HvSecret   *secret = palloc_extended(offsetof(HvSecret, data) + Max(len, 1), MCXT_ALLOC_NO_OOM);

	if (secret == NULL)
		return NULL;
	secret->len = len;
	secret->callback.func = WipeCallback;
	secret->callback.arg = secret;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &secret->callback);
	return secret->data;
}

/*
 * The same, but ereports when memory is out.
 */
unsigned char *
HvSecretAlloc(Size len)
{
	unsigned char *data = HvSecretAllocNoOom(len);

	if (data == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return data;
}

/*
 * Wipe before the context ends. NULL is fine.
 */
void
HvSecretWipe(const unsigned char *secret)
{
	if (secret != NULL)
	{
		HvSecret   *head = (HvSecret *) (secret - offsetof(HvSecret, data));

		explicit_bzero(head->data, head->len);
	}
}
