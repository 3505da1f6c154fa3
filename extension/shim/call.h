/*
 * call.h: one call of a plaintext function, with its caller, its target and the record of its failure.
 */
#ifndef HV_CALL_H
#define HV_CALL_H

#include "hyperion_vault.h"

typedef struct HvCall
{
	const char *action;			/* as in vault.audit_log */
	Oid			role;			/* effective role of the caller */
	HvBytes		name;			/* checked; empty before */
	int64		version;		/* that was requested; 0 = none was */
	HvOrigin	origin;
	MemoryContext context;		/* where results live */
} HvCall;

typedef Datum (*HvBody) (HvCall *call, FunctionCallInfo fcinfo);

extern Datum HvRun(const char *action, HvBody body, FunctionCallInfo fcinfo);
extern void HvCheckName(HvCall *call, text *name);
extern HvBytes HvLiteral(const char *s);
extern void HvBegin(HvCall *call, const char *action);
extern void HvRecordFailure(HvCall *call, int sqlstate);
extern const char *HvAuditCode(int sqlstate);
extern void HvRecord(HvCall *call, const char *outcome, const char *code);

/* An SQL function: a C function of the name, the action its audit records say, the body. */
#define HV_FUNCTION(name, action, body) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		return HvRun(action, body, fcinfo); \
	}

#endif
