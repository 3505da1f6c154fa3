/*
 * rolesession.h: the sessions of roles whose passwords are secrets.
 */
#ifndef HV_ROLESESSION_H
#define HV_ROLESESSION_H

#include "hyperion_vault.h"

extern int64 HvProlongedBySecs(void);
extern void HvSettleAfterCommit(void);
extern bool HvSettleDirectly(void);	/* settle.c */
extern bool HvSettleRoles(void);
extern bool HvEndSessions(void);

#endif
