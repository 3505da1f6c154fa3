/*
 * open.h: opens a sealed value without Go.
 */
#ifndef HV_OPEN_H
#define HV_OPEN_H

#include "cipher.h"

extern const unsigned char *HvPlainKey(HvBytes body, int i, int n);
extern HvBytes HvAnswerOf(const unsigned char *key);
extern bytea *HvOpenByGo(HvBytes body, HvBinding *binding, HvStored *stored);
extern bytea *HvOpenPlain(const unsigned char *key, const HvBinding *binding, const HvStored *stored);

#endif
