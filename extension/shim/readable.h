/*
 * readable.h: which version of a secret can be read, and what is stored of it.
 */
#ifndef HV_READABLE_H
#define HV_READABLE_H

#include "hyperion_vault.h"

#include "sealed.h"
#include "tablescan.h"

enum HvSecretColumn
{
	HV_SECRET_NAME, HV_SECRET_ID, HV_SECRET_CONTENT_TYPE, HV_SECRET_KIND, HV_SECRET_CURRENT, HV_SECRET_KEEP,
	HV_SECRET_DELETED_AT, HV_SECRET_TAGS, HV_SECRET_NEXT_ROTATION
};

enum HvVersionColumn
{
	HV_VERSION_SECRET, HV_VERSION_NUMBER, HV_VERSION_ENVELOPE, HV_VERSION_KEY_ID, HV_VERSION_WRAPPED, HV_VERSION_NONCE,
	HV_VERSION_CIPHERTEXT, HV_VERSION_CREATED_AT, HV_VERSION_EXPIRES_AT, HV_VERSION_EXPIRED, HV_VERSION_DELETE_AT
};

/* the tables of secrets and their versions, open, and the rows of what was found last */
typedef struct HvSecretTables
{
	HvScan		secrets;
	HvScan		versions;
	HeapTuple	secret;
	HeapTuple	version;
} HvSecretTables;

extern bool HvOpenSecrets(HvSecretTables *tables);
extern void HvCloseSecrets(HvSecretTables *tables);
extern bool HvFindVersion(HvSecretTables *tables, Snapshot snapshot, Datum name, int64 version);
extern bool HvFetchReadable(HvSecretTables *tables, Snapshot snapshot, HvBytes name, int64 version, MemoryContext context,
							HvOpenable *found);

#endif
