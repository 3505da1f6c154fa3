/*
 * readable.h: which version of a secret can be read, and what is stored of it.
 */
#ifndef HV_READABLE_H
#define HV_READABLE_H

#include "hyperion_vault.h"

#include "sealed.h"
#include "tablescan.h"

/* the tables of secrets and their versions, open */
typedef struct HvSecretTables
{
	HvScan		secrets;
	HvScan		versions;
} HvSecretTables;

extern bool HvOpenSecrets(HvSecretTables *tables);
extern void HvCloseSecrets(HvSecretTables *tables);
extern bool HvFetchReadable(HvSecretTables *tables, Snapshot snapshot, HvBytes name, int64 version, MemoryContext context,
							HvOpenable *found);

#endif
