/*
 * pattern.h: the patterns of grants that select a name.
 */
#ifndef HV_PATTERN_H
#define HV_PATTERN_H

#include "hyperion_vault.h"

extern int	HvAddPatterns(HvBytes target, Datum *patterns);

#endif
