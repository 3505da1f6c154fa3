/*
 * runas.h: statements that run with the rights of vault_owner.
 */
#ifndef HV_RUNAS_H
#define HV_RUNAS_H

#include "hyperion_vault.h"

#include "executor/spi.h"

#define HV_MAX_PARAMS	25

/* a statement, prepared on first use and kept for the session */
typedef struct HvStatement
{
	const char *text;			/* with qualified names and no operators, because the caller's search_path applies */
	int			nparams;
	Oid			types[HV_MAX_PARAMS];
	bool		by_index;		/* one plan for all parameters, by index whatever size the tables have */
	SPIPlanPtr	plan;
} HvStatement;

/* parameters, appended in order */
typedef struct HvParams
{
	int			n;
	Datum		values[HV_MAX_PARAMS];
	char		nulls[HV_MAX_PARAMS];
} HvParams;

extern void HvOwnerRun(HvStatement *statement, const HvParams *params);
extern void HvOwnerSee(HvStatement *statement, const HvParams *params);
extern void HvOwnerLook(HvStatement *statement, const HvParams *params);
extern void HvOwnerLookRows(HvStatement *statement, const HvParams *params, FunctionCallInfo fcinfo);
extern void HvAdd(HvParams *params, Datum value);
extern void HvAddNull(HvParams *params);
extern void HvAddNullable(HvParams *params, NullableDatum value);
extern void HvAddText(HvParams *params, HvBytes value);
extern void HvAddBytea(HvParams *params, HvBytes value);

#endif
