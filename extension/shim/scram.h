/*
 * scram.h: verifiers of SCRAM-SHA-256 by the server's own libcrypto.
 */
#ifndef HV_SCRAM_H
#define HV_SCRAM_H

/*
 * How many iterations the verifiers of this server have, for this session.
 */
extern int	HvScramIterations(void);

/*
 * The verifier of a password as this server makes it. NULL means that the server's own function has to. Palloc'd. What
 * is palloc'd meanwhile has forms of the password and is not wiped: the current context is to be one that is.
 */
extern char *HvMakeVerifier(const char *password);

#endif
