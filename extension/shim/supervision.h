/*
 * supervision.h: what the supervisor and the sessions of the server tell each other.
 */
#ifndef HV_SUPERVISION_H
#define HV_SUPERVISION_H

#include "hyperion_vault.h"

extern void HvSupervisionInit(void);
extern void HvNoteLaunch(void);
extern void HvNoteTrouble(const char *reason);
extern void HvNoteSupervisor(void);
extern void HvNoteChange(void);
extern bool HvChanged(void);
extern void HvTakeChanges(void);
extern void HvNoteLeaseEnd(void);
extern bool HvTakeLeaseEnds(void);
extern void HvNoteRoleChange(void);
extern bool HvRolesChanged(void);
extern void HvTakeRoleChanges(void);

#endif
