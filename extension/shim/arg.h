/*
 * arg.h: arguments of the plaintext functions.
 */
#ifndef HV_ARG_H
#define HV_ARG_H

#include "hyperion_vault.h"

/*
 * Refuse a null argument.
 */
static inline void
RequireArg(FunctionCallInfo fcinfo, int arg, const char *what)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
}

static inline NullableDatum
Arg(FunctionCallInfo fcinfo, int arg)
{
	return fcinfo->args[arg];
}

#endif
