/*
 * hyperion_vault.h: what the files of the shim share.
 */
#ifndef HYPERION_VAULT_H
#define HYPERION_VAULT_H

#include "postgres.h"

#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "abi.h"

/* Whose a message is: logredact.c lets ours pass. */
#undef TEXTDOMAIN
#define TEXTDOMAIN			"hyperion_vault"

#define HV_EXTENSION_NAME	"hyperion_vault"
#define HV_SCHEMA_NAME		"vault"
#define HV_OWNER_NAME		"vault_owner"
#define HV_TOO_LONG_HINT	"The limit is hyperion_vault.max_value_bytes. A superuser can raise it, up to 1048576."
#define HV_GO_LIBRARY		"hyperion_vault_go.so"

#define HV_MAX_NAME_LEN		255	/* bytes, as core.MaxNameLen */
#define HV_ID_LEN			16	/* bytes of a secret's UUID */
#define HV_MAX_FRAME_LEN	(1024 * 1024)	/* body of an agent frame, as core/frame.MaxSize */

/* SQLSTATE of a stale expected version; class VT is the vault's own */
#define HV_ERRCODE_STALE	MAKE_SQLSTATE('V','T','0','0','1')
/* of a template that can make no role now */
#define HV_ERRCODE_NO_ROLE	MAKE_SQLSTATE('V','T','0','0','7')

/* that of a secret whose bound role is not what it was, or that must not be deleted because it is bound */
#define HV_ERRCODE_ROLE_CHANGED	MAKE_SQLSTATE('V','T','0','0','6')

/* settings.c */
extern char *HvAgentSocket;
extern int	HvAgentTimeoutMs;
extern int	HvKeyLeaseSecs;
extern int	HvMaxValueBytes;
extern bool HvAllowDrop;
extern bool HvAllowUnsafeGrants;
extern char *HvDatabase;
extern bool HvRotationEnabled;
extern int	HvScanIntervalSecs;
extern void HvSettingsInit(void);

/* dropguard.c */
extern void HvGuardInit(void);

/* launcher.c */
extern void HvLauncherInit(void);

/* logredact.c */
extern void HvLogInit(void);
extern void HvLogEnter(const char *function);
extern void HvLogGive(void);
extern bool HvEntered(void);

/* queryid.c */
extern void HvQueryIdInit(void);

#endif
