/*
 * position.c: tells a session that asked for it where the commit of its change ends in the log.
 *
 * Only the answer can say so: the change does not know it before it is committed, and a question of its own costs a round trip.
 * PostgreSQL reports a setting that has changed once the transaction is over, with what the setting then shows.
 */
#include "hyperion_vault.h"

#include "access/xlog.h"
#include "position.h"
#include "utils/guc.h"

#define SETTING		"hyperion_vault.report_position"

static bool report_position = false;

/*
 * What the setting shows, and the client gets: where the session's last commit ends, if it asked for that.
 */
static const char *
ShowPosition(void)
{
	static char shown[sizeof("FFFFFFFF/FFFFFFFF")];

	if (!report_position)
		return "off";
	snprintf(shown, sizeof(shown), "%X/%X", LSN_FORMAT_ARGS(XactLastCommitEnd));
	return shown;
}

/*
 * Define the setting. Safe in the postmaster.
 */
void
HvPositionInit(void)
{
	DefineCustomBoolVariable(SETTING,
							 "Reports to the client where the commit of each change of a secret ends in the log.",
							 "On, it shows where the last commit of the session ends.",
							 &report_position, false, PGC_USERSET, GUC_REPORT | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							 NULL, NULL, ShowPosition);
}

/*
 * Have the position of the present transaction reported after its commit. Setting it to what it is marks it as changed.
 */
void
HvReportPosition(void)
{
	if (report_position)
		(void) set_config_option(SETTING, "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}
