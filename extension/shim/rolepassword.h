/*
 * rolepassword.h: passwords of PostgreSQL's own roles, as SCRAM verifiers and without any SQL text.
 *
 * A verifier is a secret of a lower grade than the password: it does not log in, but it can be guessed at offline. It goes
 * into no message, and a function that takes one calls HvLogEnter() first, so that the server log has none of its
 * parameters. The name of such a function is one that HvNames() knows, for log_statement writes before it is entered.
 */
#ifndef HV_ROLEPASSWORD_H
#define HV_ROLEPASSWORD_H

#include "hyperion_vault.h"

#include "datatype/timestamp.h"

#define HV_MAX_PASSWORD_LEN	1024	/* bytes; as core/scram.MaxPasswordLen */

/* who a change of a role is made as: PostgreSQL's own rules decide for a role, and everything is allowed to the vault */
#define HV_AS_VAULT		InvalidOid

/*
 * The verifier of a password as this server makes it: SCRAM-SHA-256 after SASLprep, with scram_iterations where the server
 * has that setting. Palloc'd and wiped at the reset of the context; every copy of the password is wiped. May ereport: a
 * password that no client can send is refused.
 */
extern char *HvScramVerifier(HvBytes password);

/*
 * Whether a text is a verifier of SCRAM-SHA-256.
 */
extern bool HvIsScram(const char *verifier);

/*
 * Name and stored verifier of a role, palloc'd; the verifier is NULL if it has none. ereports if there is no such role.
 */
extern char *HvStoredVerifier(Oid role, char **verifier);

/*
 * ereport unless a text is a SCRAM-SHA-256 verifier that this server takes.
 */
extern void HvCheckVerifier(const char *verifier);

/*
 * Whether a stored verifier of a role, of whatever kind, is one of a password.
 */
extern bool HvStoredIs(const char *name, const char *verifier, HvBytes password);

/*
 * Whether the role's present password is this one, computed from pg_authid without logging in. False for a role without a
 * password; whether it may log in, and until when, does not matter.
 */
extern bool HvPasswordIs(Oid role, HvBytes password);

/*
 * Store the password of a role as a verifier, or its VALID UNTIL, or both; NULL keeps. It decides nothing about the caller. It
 * does what AlterRole() does, except that that one computes all iterations of the verifier, to find out whether it is one of an
 * empty password. None is that is made here or by the API, and no client of PostgreSQL sends an empty password. The present
 * transaction sees the change.
 */
extern void HvStoreLogin(Oid role, const char *verifier, const TimestampTz *valid_until);

/*
 * Lock the row of a role that is about to be altered. ereports a serialization failure if another transaction has altered it
 * meanwhile. HvStoreLogin() and HvAlterRole() do it.
 */
extern void HvLockRole(Oid role);	/* rolelock.c */

/*
 * The same without a wait. False if another transaction has the row or has altered it, or there is no such role.
 */
extern bool HvLockRoleAtOnce(Oid role);

/*
 * Set the password of a role to a verifier, or its VALID UNTIL, or both; NULL keeps. The server's own AlterRole() does it, as
 * the given role: it refuses what it would refuse that role. HV_AS_VAULT is for what was decided before: HvStoreLogin() does
 * it. There is no SQL text, so no log, view or event trigger sees the verifier. The present transaction sees the change.
 */
extern void HvAlterRole(Oid as, Oid role, const char *verifier, const char *valid_until);

/*
 * ereport unless a function of the vault's calls, or a superuser: these can set the password of any role.
 */
extern void HvRequireOwner(void);

/*
 * Run a function as another role, as the above does; the identity comes back after it, also by an error.
 */
extern void HvRunAs(Oid as, void (*run) (void *arg), void *arg);

#endif
