/*
 * secretmem.h: memory for keys and plaintext, wiped when its context is reset, also by an error.
 */
#ifndef HV_SECRETMEM_H
#define HV_SECRETMEM_H

#include "hyperion_vault.h"

extern unsigned char *HvSecretAllocNoOom(Size len);
extern unsigned char *HvSecretAlloc(Size len);
extern void HvSecretWipe(const unsigned char *secret);

#endif
