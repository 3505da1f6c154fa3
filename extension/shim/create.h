/*
 * create.h: stores a new secret without a statement.
 */
#ifndef HV_CREATE_H
#define HV_CREATE_H

#include "hyperion_vault.h"

#include "sealed.h"
#include "supersede.h"

/* the columns of vault.version_settings, in their order */
typedef enum HvVersionSetting
{
	HV_CAS_REQUIRED,
	HV_DELETE_AFTER,
	HV_VERSION_SETTINGS
} HvVersionSetting;

/* a new secret whose settings are usual ones, which makes them right; a null setting has the default */
typedef struct HvCreation
{
	Datum		id;
	Datum		name;
	Datum		kind;
	Datum		content_type;
	int64		version;		/* at which it begins */
	bool		at_once;		/* not, if others are about to take or to free the name */
	HvSettings	settings;
	NullableDatum more[HV_VERSION_SETTINGS];
	NullableDatum sealed[HV_SEALED_COLUMNS];
	NullableDatum origin[HV_ORIGIN_COLUMNS];
} HvCreation;

extern bool HvAreUsual(const HvCreation *creation);	/* usual.c */
extern bool HvFindFirstVersion(Datum name, int64 *version);
extern bool HvCreateDirectly(const HvCreation *creation, TupleDesc result, HeapTuple *state);

#endif
