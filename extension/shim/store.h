/*
 * store.h: what the plaintext functions read and write, as vault_owner.
 */
#ifndef HV_STORE_H
#define HV_STORE_H

#include "hyperion_vault.h"

#include "call.h"
#include "nodes/execnodes.h"

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
} HvLocked;

/* what create_secret takes beside name and value; Datums of the SQL types */
typedef struct HvSettings
{
	NullableDatum kind;
	NullableDatum description;
	NullableDatum tags;
	NullableDatum rotation_interval_secs;
	NullableDatum grace_period_secs;
	NullableDatum generate_policy;
} HvSettings;

extern void HvRequire(HvCall *call);
extern void HvFindOpenable(HvCall *call, HvOpenable *found);
extern void HvLock(HvCall *call, NullableDatum expected_version, HvLocked *locked);
extern HvBytes HvJsonText(Datum json);
extern int64 HvInsertSecret(HvCall *call, const HvBinding *binding, const HvSettings *settings,
							const HvStored *sealed);
extern int64 HvAppendVersion(HvCall *call, const HvBinding *binding, const HvStored *sealed);
extern void HvDelete(HvCall *call, const HvLocked *locked);
extern void HvList(HvCall *call, HvBytes prefix, ReturnSetInfo *result);

#endif
