/*
 * settings.c: the hyperion_vault.* settings.
 */
#include "hyperion_vault.h"

#include <sys/un.h>

#include "miscadmin.h"
#include "position.h"
#include "utils/guc.h"

#define HV_DEFAULT_AGENT_SOCKET		"/run/hyperion-vault/agent.sock"
#define HV_DEFAULT_AGENT_TIMEOUT	5000
#define HV_DEFAULT_KEY_LEASE		60
#define HV_MAX_KEY_LEASE			3600	/* as core/frame.MaxLeaseSecs */
#define HV_DEFAULT_MAX_VALUE		(64 * 1024)
#define HV_MAX_MAX_VALUE			(1024 * 1024)

char	   *HvAgentSocket;
int			HvAgentTimeoutMs;
int			HvKeyLeaseSecs;
int			HvMaxValueBytes;
bool		HvAllowDrop;
bool		HvAllowUnsafeGrants;
char	   *HvDatabase;
bool		HvRotationEnabled;
int			HvScanIntervalSecs;
static int	HvDeletedRetentionDays;

/*
 * Check that the path is absolute and fits a socket address.
 */
static bool
CheckAgentSocket(char **newval, void **extra, GucSource source)
{
	if (**newval != '/')
	{
		GUC_check_errdetail("The path must be absolute.");
		return false;
	}
	if (strlen(*newval) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
	{
		GUC_check_errdetail("The path is longer than a unix socket's can be.");
		return false;
	}
	return true;
}

/*
 * Define the settings of the background workers. These exist only when the library is preloaded; so does what a restart
 * is needed for. Safe in the postmaster.
 */
static void
DefineWorkerSettings(void)
{
	DefineCustomStringVariable("hyperion_vault.database",
							   "Database whose secrets the supervisor serves.",
							   NULL, &HvDatabase, "postgres",
							   process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("hyperion_vault.rotation_enabled",
							 "Whether the supervisor enqueues rotations that are due.",
							 NULL, &HvRotationEnabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hyperion_vault.scan_interval_secs",
							"Time between two passes of the supervisor.",
							NULL, &HvScanIntervalSecs, 5, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/*
 * Define the settings. None may be set by an ordinary role: a role that chose the socket would choose the keys that an
 * application's SECURITY DEFINER function seals with. Safe in the postmaster.
 */
void
HvSettingsInit(void)
{
	DefineCustomStringVariable("hyperion_vault.agent_socket",
							   "Unix socket of the key agent of hyperion-vault-api on this node.",
							   NULL, &HvAgentSocket, HV_DEFAULT_AGENT_SOCKET,
							   PGC_SUSET, GUC_SUPERUSER_ONLY, CheckAgentSocket, NULL, NULL);
	DefineCustomIntVariable("hyperion_vault.agent_timeout_ms",
							"How long a function waits for the key agent.",
							NULL, &HvAgentTimeoutMs, HV_DEFAULT_AGENT_TIMEOUT, 1, 600000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("hyperion_vault.key_lease_secs",
							"How long a session may keep a data key that it has read with; 0: it keeps none.",
							NULL, &HvKeyLeaseSecs, HV_DEFAULT_KEY_LEASE, 0, HV_MAX_KEY_LEASE,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("hyperion_vault.max_value_bytes",
							"The longest value, before sealing, that a function accepts.",
							NULL, &HvMaxValueBytes, HV_DEFAULT_MAX_VALUE, 1, HV_MAX_MAX_VALUE,
							PGC_SUSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomBoolVariable("hyperion_vault.allow_drop_with_secrets",
							 "Lets DROP EXTENSION destroy secrets.",
							 NULL, &HvAllowDrop, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("hyperion_vault.allow_unsafe_grants",
							 "Lets privileges on the vault's tables be granted, and vault_owner have members and attributes.",
							 NULL, &HvAllowUnsafeGrants, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	/* SQL reads it */
	DefineCustomIntVariable("hyperion_vault.deleted_retention_days",
							"How many days a deleted secret can be restored; 0: deletion destroys.",
							NULL, &HvDeletedRetentionDays, 0, 0, 3650, PGC_SUSET, 0, NULL, NULL, NULL);
	HvPositionInit();
	DefineWorkerSettings();
	MarkGUCPrefixReserved("hyperion_vault");
}
