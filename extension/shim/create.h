/*
 * create.h: stores a new secret without a statement.
 */
#ifndef HV_CREATE_H
#define HV_CREATE_H

#include "hyperion_vault.h"

#include "supersede.h"

/* a new secret that has the usual settings */
typedef struct HvCreation
{
	Datum		id;
	Datum		name;
	Datum		content_type;
	Datum		description;
	int64		grace_period_secs;
	int32		keep_versions;
	int64		version;		/* at which it begins */
	NullableDatum sealed[HV_SEALED_COLUMNS];
	NullableDatum origin[HV_ORIGIN_COLUMNS];
} HvCreation;

extern bool HvFindFirstVersion(Datum name, int64 *version);
extern bool HvCreateDirectly(const HvCreation *creation);

#endif
