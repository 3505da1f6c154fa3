/*
 * statement.h: which statements have to do with a value, by their text.
 */
#ifndef HV_STATEMENT_H
#define HV_STATEMENT_H

#include "hyperion_vault.h"

#define HV_CALL_DEPTH	3		/* how many functions deep one that takes a value is searched for */

/* how a statement has failed, if it has: as it is written, or with what it was given */
typedef enum HvFailure
{
	HV_NO_FAILURE,
	HV_FAILED,
	HV_FAILED_AS_WRITTEN
} HvFailure;

extern const char *HvFind(const char *text, const char *word);
extern bool HvNames(const char *text);
extern bool HvRunsNaming(const char *text);
extern bool HvSlips(const char *text, HvFailure failure);
extern bool HvCallsNaming(const char *text, int depth);

#endif
