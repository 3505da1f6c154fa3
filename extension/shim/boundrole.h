/*
 * boundrole.h: the roles that a secret is bound to, found and given passwords without a statement.
 */
#ifndef HV_BOUNDROLE_H
#define HV_BOUNDROLE_H

#include "hyperion_vault.h"

#include "tablewrite.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#define HV_MAX_ROLES	2		/* of a secret */

typedef enum HvBindingColumn
{
	HV_BINDING_SECRET,
	HV_BINDING_PLACE,
	HV_BINDING_ROLE,
	HV_BINDING_NAME,
	HV_BINDING_ATTRIBUTES,
	HV_BINDING_SHARED,
	HV_BINDING_VERSION,
	HV_BINDING_POLICY,
	HV_BINDING_MAX_WAIT,
	HV_BINDING_DRIFT,
	HV_BINDING_DRIFT_SINCE,
	HV_BINDING_GRACE_ENDS_AT,
	HV_BINDING_WAIT_UNTIL
} HvBindingColumn;

/* a row of vault.role_bindings */
typedef struct HvBoundRole
{
	HeapTuple	row;
	Datum		place;
	Oid			role;			/* InvalidOid: missing */
	char	   *name;			/* when it was bound */
	ArrayType  *attributes;		/* then */
	bool		shares;			/* both roles of a pair are members of the next one */
	Oid			shared_role;	/* InvalidOid: missing */
	int64		version;		/* whose password it has, 0 for none */
	bool		paired;			/* with another role, and takes turns with it */
	bool		waits;			/* its login is prolonged while it has sessions */
	int64		max_wait_secs;
} HvBoundRole;

/* the roles of a secret that are to be changed */
typedef struct HvRoles
{
	HvTarget	bindings;
	HvTarget	verifiers;
	HvBoundRole roles[HV_MAX_ROLES];
	HvBoundRole *next;			/* whose password comes */
	HvBoundRole *retiring;		/* the other one of a pair, or NULL */
	HeapTuple	kept;			/* the verifier that was kept of the next one, or NULL */
	const char *verifier;		/* that it gets */
	LockWaitPolicy wait;		/* for what others have locked */
} HvRoles;

extern HvTable HvBindings;

extern int	HvReadRoles(HvScan *scan, HvBytes id, HvBoundRole *roles);
extern HvBoundRole *HvNextOf(HvBoundRole *roles, int n);
extern bool HvIsAsBound(const HvBoundRole *bound);
extern bool HvMayBeNext(const HvBoundRole *bound);

/*
 * Name of the role whose password the next version of a secret is; NULL if the table is not as expected. ereports if
 * the role is not what it was when it was bound. Palloc'd.
 */
extern const char *HvNextRole(HvBytes id);

/*
 * The same by the snapshot that is active. NULL also if there is none, or the role is not what it was when it was bound.
 */
extern const char *HvUsualNextRole(HvBytes id);

/*
 * Between HvBeginWrites() and HvEndWrites(): open the roles of a secret to give one the password that a version is, and
 * have all that is to change locked. False if a statement has to do it, which has the words of a refusal, or with
 * LockWaitSkip also if others have locked a part: then nothing is open.
 */
extern bool HvOpenRoles(HvRoles *roles, HvBytes id, int64 version, LockWaitPolicy wait);

/*
 * Give the next role its password; of a pair the other one ends with the grace. Returns what the audit says of it, as jsonb.
 */
extern Datum HvGivePassword(HvRoles *roles, int64 version, TimestampTz stamp, int64 grace_secs);

extern void HvCloseRoles(HvRoles *roles);
extern void HvReleaseRoles(HvRoles *roles);

#endif
