/*
 * statement.h: which statements have to do with a value, by their text.
 */
#ifndef HV_STATEMENT_H
#define HV_STATEMENT_H

#include "hyperion_vault.h"

#define HV_CALL_DEPTH	3		/* how many functions deep one that takes a value is searched for */

extern const char *HvFind(const char *text, const char *word);
extern bool HvNames(const char *text);
extern bool HvRunsNaming(const char *text);
extern bool HvSlips(const char *text, bool unknown);
extern bool HvCallsNaming(const char *text, int depth);

#endif
