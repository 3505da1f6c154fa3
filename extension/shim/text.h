/*
 * text.h: texts and values as UTF-8 bytes.
 */
#ifndef HV_TEXT_H
#define HV_TEXT_H

#include "hyperion_vault.h"

extern void HvRequireUtf8(void);
extern HvBytes HvTextBytes(const text *t);
extern HvBytes HvShown(const char *name);
extern HvBytes HvValueArg(FunctionCallInfo fcinfo, int arg);

#endif
