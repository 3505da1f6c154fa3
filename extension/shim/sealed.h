/*
 * sealed.h: what the plaintext functions read and write, as vault_owner.
 */
#ifndef HV_SEALED_H
#define HV_SEALED_H

#include "hyperion_vault.h"

#include "call.h"
#include "nodes/execnodes.h"
#include "runas.h"
#include "utils/array.h"

/* of vault.stored_value, for HvReadStored */
#define HV_STORED_COLUMNS \
	"v.secret_id, v.content_type, v.version, v.envelope_version, v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext"
#define HV_STORED_NAME	9		/* the column after them */

/* versions of one secret that a role may open */
typedef struct HvOpenable
{
	HvBytes		id;
	HvBytes		content_type;
	int			n;
	HvStored   *versions;
} HvOpenable;

/* a secret that a role may change, locked */
typedef struct HvLocked
{
	HvBytes		id;
	HvBytes		content_type;
	HvBytes		policy;			/* JSON; empty for none */
	bool		automatic;
	int64		current_version;
	bool		bound;			/* to a role of PostgreSQL */
	bool		conditional;	/* an update may have to name the version that it replaces */
} HvLocked;

/* the columns of vault.secret_settings, in their order */
typedef enum HvSetting
{
	HV_DESCRIPTION,
	HV_TAGS,
	HV_ROTATION_INTERVAL,
	HV_ROTATION_SCHEDULE,
	HV_ROTATION_TIME_ZONE,
	HV_ROTATION_WINDOW,
	HV_ROTATION_PAUSED,
	HV_GRACE_PERIOD,
	HV_KEEP_VERSIONS,
	HV_GENERATE_POLICY,
	HV_SETTINGS
} HvSetting;

typedef struct HvSettings
{
	NullableDatum values[HV_SETTINGS];
} HvSettings;

extern HvBytes HvCheckSettings(const HvSettings *settings);	/* metadata.c */
extern void HvRequire(HvCall *call, const char *wanted);
extern void HvFindOpenable(HvCall *call, HvOpenable *found);
extern void HvFindReadable(HvCall *call, HvOpenable *found);
extern bool HvIsSuperuser(Oid role);
extern Datum HvColumn(HeapTuple row, int column);
extern HvBytes HvColumnBytes(HeapTuple row, int column);
extern HvBytes HvColumnUuid(HeapTuple row, int column);
extern void HvReadStored(HeapTuple row, HvBytes *id, HvBytes *content_type, HvStored *stored);
extern ArrayType *HvReadableNames(HvCall *call, HvBytes prefix);
extern bool HvHasBindings(void);	/* lock.c */
extern HvBytes HvJsonText(Datum json);
extern HvBytes HvNewId(void);	/* secret.c */
extern HvBytes HvGenerateValue(HvBytes policy);	/* secret.c */
extern void HvSealValue(HvCall *call, HvBinding *binding, HvBytes value, HvStored *stored);	/* seal.c */
extern HvBytes HvOpenFirst(HvCall *call, HvOpenable *found);	/* secret.c */
extern HvBytes HvUnwrapKeys(HvCall *call, HvBinding *binding, HvStored *first, int n);	/* secret.c */
extern Oid	HvFunction(const char *name, const Oid *types, int n);	/* versions.c */
extern bool HvHasFunction(const char *name, const Oid *types, int n);	/* versions.c */
extern HvBytes HvContentTypeArg(FunctionCallInfo fcinfo, int arg);	/* secret.c */
extern void HvRequireCondition(HvCall *call);	/* versions.c */
extern void HvAddSealed(HvParams *params, const HvStored *sealed);
extern bool HvCreateUsual(HvCall *call, const HvBinding *binding, NullableDatum kind, const HvSettings *settings,
						  const HvStored *sealed);	/* usual.c */
extern bool HvAppendUsual(HvCall *call, const HvBinding *binding, const HvStored *sealed);	/* usual.c */
extern void HvAddOrigin(HvParams *params, const HvCall *call);
extern void HvAddUuid(HvParams *params, HvBytes id);
extern int64 HvReturnedVersion(void);
extern int64 HvFirstVersion(HvCall *call);
extern int64 HvInsertSecret(HvCall *call, const HvBinding *binding, NullableDatum kind, const HvSettings *settings,
							const HvStored *sealed);
extern void HvConfigure(HvCall *call, const HvLocked *locked, const HvSettings *settings);
extern void HvExpireVersion(HvCall *call, const HvLocked *locked, int64 version, int64 grace_secs);
extern int64 HvAppendVersion(HvCall *call, const HvBinding *binding, const HvStored *sealed, bool reschedule);
extern void HvDelete(HvCall *call, const HvLocked *locked);

/* lock.c */

/*
 * Lock the secret that the caller wants to change, by the right to do so. ereports if it may not, there is none, the
 * expected version is stale, or the transaction's snapshot is. Palloc'd in the call's context.
 */
extern void HvLock(HvCall *call, const char *wanted, NullableDatum expected_version, HvLocked *locked);

/*
 * The same, unless the secret is bound to a role. False then: it is not locked, and what it was is returned.
 */
extern bool HvLockUnlessBound(HvCall *call, const char *wanted, NullableDatum expected_version, HvLocked *seen);

/*
 * Lock a secret whose change was allowed by HvLockUnlessBound().
 */
extern void HvLockAllowed(HvCall *call, NullableDatum expected_version, HvLocked *locked);

/*
 * Whether a secret that was locked is as it was seen before, in what its next value depends on.
 */
extern bool HvIsAsSeen(const HvLocked *seen, const HvLocked *locked);

#endif
