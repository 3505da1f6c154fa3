/*
 * request.h: what a read asks of Go no more.
 */
#ifndef HV_REQUEST_H
#define HV_REQUEST_H

#include "hyperion_vault.h"

extern bool HvIsName(HvBytes name);
extern void HvCheckReadableText(HvBytes content_type);
extern HvBytes HvPlainUnwrapRequest(const HvOrigin *origin, HvBytes action, const HvBinding *binding,
									const HvStored *stored, int n);

#endif
