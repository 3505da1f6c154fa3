/*
 * supervision.h: what the workers let every session of the server know.
 */
#ifndef HV_SUPERVISION_H
#define HV_SUPERVISION_H

#include "hyperion_vault.h"

extern void HvSupervisionInit(void);
extern void HvNoteLaunch(void);
extern void HvNoteTrouble(const char *reason);

#endif
