/*
 * roleverifier.h: verifiers of the passwords that values of bound secrets are.
 */
#ifndef HV_ROLEVERIFIER_H
#define HV_ROLEVERIFIER_H

#include "hyperion_vault.h"

#include "sealed.h"

extern HvBytes HvForNextRole(const HvLocked *locked, HvBytes value);
extern void HvOfferPassword(HvCall *call, const HvLocked *locked, HvBytes value);
extern const char *HvOfferedVerifier(const unsigned char *id, int64 version);
extern HvBytes HvPasswordOf(HvBytes content_type, HvBytes value, HvBytes *username);
extern char *HvVerifierOf(HvBytes content_type, HvBytes value, const char *role);
extern bool HvIsNamed(HvBytes name, const char *role);

#endif
