/*
 * hyperion_vault.c: entry of the library.
 *
 * Pure C, so that it may stand in shared_preload_libraries: the Go library is opened after fork, in the backend
 * that first needs it (golib.c).
 */
#include "hyperion_vault.h"

#include "supervision.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Called when the library is loaded. Safe in the postmaster.
 */
void
_PG_init(void)
{
	HvSettingsInit();
	HvGuardInit();
	HvSupervisionInit();
	HvLauncherInit();
	HvLogInit();
	HvQueryIdInit();
}
