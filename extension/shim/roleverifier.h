/*
 * roleverifier.h: verifiers of the passwords that values of bound secrets are.
 */
#ifndef HV_ROLEVERIFIER_H
#define HV_ROLEVERIFIER_H

#include "hyperion_vault.h"

#include "sealed.h"

/* what the next version of a bound secret gives to a role */
typedef struct HvPassword
{
	const char *role;			/* that the value names, or NULL */
	char	   *verifier;
} HvPassword;

/*
 * The name of the role that the next version of a bound secret has to name; NULL for one that is no JSON. ereports if it is not
 * the role that was bound.
 */
extern const char *HvRoleToName(const HvLocked *secret);

/*
 * A generated value with the name of a role; NULL is none. The given value is wiped.
 */
extern HvBytes HvForRole(HvBytes value, const char *role);

/*
 * Make the verifier that a value gives to the role that it has to name. ereports if it is no login of it.
 */
extern void HvMakePassword(const HvLocked *secret, HvBytes value, const char *role, HvPassword *password);

/*
 * Whether the next version of a locked secret has to name the role that a password was made for.
 */
extern bool HvIsForNext(const HvLocked *locked, const HvPassword *password);

/*
 * Have the verifier ready for the next version of a locked secret, for the rest of the statement.
 */
extern void HvOfferPassword(const HvLocked *locked, const HvPassword *password);

/*
 * Have a verifier ready for a version, for the rest of the statement, if that goes to the role: NULL is any. Copies both.
 */
extern void HvOfferVerifier(const unsigned char *id, int64 version, const char *verifier, const char *role);

/*
 * The verifier that is ready for a version of a secret whose next role is the given one, NULL for whichever; NULL if there is
 * none.
 */
extern const char *HvOfferedVerifier(const unsigned char *id, int64 version, const char *role);
extern HvBytes HvPasswordOf(HvBytes content_type, HvBytes value, HvBytes *username);
extern char *HvVerifierOf(HvBytes content_type, HvBytes value, const char *role);
extern bool HvIsNamed(HvBytes name, const char *role);

#endif
