/*
 * leasedrole.h: the roles that leases are.
 */
#ifndef HV_LEASEDROLE_H
#define HV_LEASEDROLE_H

#include "hyperion_vault.h"

#include "nodes/parsenodes.h"

extern RoleSpec *HvRoleSpec(const char *name);
extern void HvShutRole(Oid role);
extern bool HvEndLeases(void);	/* leaseend.c */

#endif
