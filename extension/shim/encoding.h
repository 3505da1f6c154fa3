/*
 * encoding.h: values between UTF-8, in which they are sealed, and the server's encoding.
 */
#ifndef HV_ENCODING_H
#define HV_ENCODING_H

#include "hyperion_vault.h"

extern HvBytes HvValueArg(FunctionCallInfo fcinfo, int arg, bool is_text);
extern HvBytes HvValueToUtf8(HvBytes value);
extern HvBytes HvValueToServer(HvBytes value);

#endif
