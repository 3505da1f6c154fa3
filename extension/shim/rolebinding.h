/*
 * rolebinding.h: secrets that are the passwords of PostgreSQL's own roles.
 */
#ifndef HV_ROLEBINDING_H
#define HV_ROLEBINDING_H

#include "hyperion_vault.h"

#include "call.h"
#include "sealed.h"

extern void HvRequireOwner(void);
extern HvBytes HvForNextRole(const HvLocked *locked, HvBytes value);
extern void HvOfferPassword(HvCall *call, const HvLocked *locked, HvBytes value);

#endif
