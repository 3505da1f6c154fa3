/*
 * decide.h: the decision about a caller by REST.
 */
#ifndef HV_DECIDE_H
#define HV_DECIDE_H

#include "hyperion_vault.h"

#include "granting.h"
#include "note.h"
#include "tokenholder.h"

/* the arguments of vault.admit(), with which those of a function begin that decides about a caller and makes its change */
typedef enum HvCallerArgument
{
	HV_CALLER_FINGERPRINT, HV_CALLER_ADDRESS, HV_CALLER_CLAIMS, HV_CALLER_ACTION, HV_CALLER_NAME, HV_CALLER_NODE,
	HV_CALLER_REQUEST_ID, HV_CALLER_ARGUMENTS
} HvCallerArgument;

/* who wants to do what with which name */
typedef struct HvQuestion
{
	NullableDatum fingerprint;
	NullableDatum address;
	NullableDatum claims;
	NullableDatum action;
	NullableDatum name;
} HvQuestion;

/*
 * Decide by scans of open tables, with the snapshot that is active; false if vault.decide_defined() has to be asked. What is
 * found is palloc'd.
 */
extern bool HvDecideByScans(HvGrantTables *grants, HvTokenTables *tokens, const HvQuestion *question, HvHolder *holder);

/*
 * Decide by vault.decide_defined(), with the snapshot that is active. What is found is palloc'd.
 */
extern void HvDecideBySql(const HvQuestion *question, HvHolder *holder);

/*
 * The origin of a change by REST, decided about by what is committed now. False if scans do not allow it: vault.admit() then
 * says why, or allows it.
 */
extern bool HvAdmitByScans(FunctionCallInfo fcinfo, NullableDatum *origin);

#endif
