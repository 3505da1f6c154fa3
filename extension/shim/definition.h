/*
 * definition.h: functions that do without a statement what a definition in SQL says.
 */
#ifndef HV_DEFINITION_H
#define HV_DEFINITION_H

#include "hyperion_vault.h"

extern void HvTakeRow(NullableDatum argument, NullableDatum *values, int n);
extern Datum HvCallDefinition(FunctionCallInfo fcinfo, const char *name);

#endif
