/*
 * leasedrole.h: the login roles that leases hand out.
 */
#ifndef HV_LEASEDROLE_H
#define HV_LEASEDROLE_H

#include "hyperion_vault.h"

#include "nodes/parsenodes.h"

extern RoleSpec *HvRoleSpec(const char *name);
extern void HvShutRole(Oid role);
extern bool HvEndLeases(void);	/* leaseend.c */

#endif
