/*
 * supersede.h: makes a sealed value the current version of a secret, without a statement.
 */
#ifndef HV_SUPERSEDE_H
#define HV_SUPERSEDE_H

#include "hyperion_vault.h"

#include "datatype/timestamp.h"
#include "note.h"

/* the columns of vault.sealed_value */
#define HV_SEALED_COLUMNS	5

/* a change of a value */
typedef struct HvAppend
{
	Datum		id;				/* of the secret */
	int64		expected_version;
	Datum		action;
	bool		at_once;		/* it waits for no row: what others have locked is not changed */
	NullableDatum sealed[HV_SEALED_COLUMNS];
	NullableDatum origin[HV_ORIGIN_COLUMNS];
} HvAppend;

extern HvTable HvVersionsTable;	/* found by secret and version */

extern void HvInsertVersion(HvTarget *versions, Datum id, int64 version, const NullableDatum *sealed, TimestampTz created_at,
							NullableDatum delete_after_secs);
extern bool HvAppendDirectly(const HvAppend *append, TupleDesc result, HeapTuple *info);

#endif
