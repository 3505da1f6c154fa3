/*
 * log.c: keeps plaintext out of the server log.
 *
 * A value can stand in the text of a statement, as a literal, or in its parameters. PostgreSQL writes both to its
 * log: when the statement fails, when statements or durations are logged, by auto_explain and debug_print_*, and
 * when the backend crashes, then from the postmaster, out of what pg_stat_activity shows. So a log entry of a
 * statement that calls a function which takes a value loses its statement, its parameters and its context, and
 * the activity is overwritten as soon as such a function is entered.
 *
 * Which statements: those whose text names such a function, those that execute a prepared statement that does, and
 * any in which one has been entered, for it may have been called by another function.
 */
#include "hyperion_vault.h"

#include <ctype.h>

#include "access/xact.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#define WITHHELD	"<withheld by hyperion_vault>"

static emit_log_hook_type next_hook;
static TimestampTz entered_at = 0;	/* start of the last statement that entered a function which takes a value */

/*
 * Case-insensitive strstr, for ASCII.
 */
static const char *
Find(const char *text, const char *word)
{
	size_t		len = strlen(word);

	for (; *text != '\0'; text++)
		if (pg_strncasecmp(text, word, len) == 0)
			return text;
	return NULL;
}

/*
 * Whether a text names a function that takes a value.
 */
static bool
Names(const char *text)
{
	return text != NULL &&
		(Find(text, "create_secret") != NULL || Find(text, "update_secret") != NULL ||
		 (Find(text, "vault") != NULL && Find(text, "verify") != NULL));
}

/*
 * Whether a text executes a prepared statement that does. Only memory is looked at: the transaction may be aborted.
 */
static bool
ExecutesNaming(const char *text)
{
	const char *at = text == NULL ? NULL : Find(text, "execute");
	char		name[NAMEDATALEN];
	int			len = 0;
	bool		quoted;
	PreparedStatement *prepared;

	if (at == NULL)
		return false;
	for (at += strlen("execute"); isspace((unsigned char) *at); at++)
		;
	quoted = *at == '"';
	for (at += quoted; *at != '\0' && len < NAMEDATALEN - 1; at++)
	{
		if (quoted ? *at == '"' : !(isalnum((unsigned char) *at) || *at == '_' || *at == '$' || IS_HIGHBIT_SET(*at)))
			break;
		name[len++] = quoted ? *at : pg_tolower((unsigned char) *at);
	}
	name[len] = '\0';
	prepared = FetchPreparedStatement(name, false);
	return prepared != NULL && Names(prepared->plansource->query_string);
}

/*
 * Whether the present statement has entered a function that takes a value.
 */
static bool
Entered(void)
{
	return entered_at != 0 && entered_at == GetCurrentStatementStartTimestamp();
}

/*
 * Cut a message at the text of the statement, as "duration: 1 ms  statement: ..." holds it.
 */
static void
CutStatement(ErrorData *edata)
{
	char	   *at;

	if (edata->message == NULL)
		return;
	at = debug_query_string == NULL ? NULL : strstr(edata->message, debug_query_string);
	if (at != NULL || Names(edata->message))
		edata->message = psprintf("%.*s%s", at == NULL ? 0 : (int) (at - edata->message), edata->message, WITHHELD);
	edata->detail = NULL;
}

/*
 * An error that comes before a function is entered may quote its literals ("syntax error at or near ..."). Its text
 * is the client's; the log gets its SQLSTATE.
 */
static void
WithholdMessage(ErrorData *edata)
{
	static bool inside = false;

	if (inside)
		return;
	inside = true;
	edata->output_to_server = false;
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("a statement that calls hyperion_vault failed: SQLSTATE %s, text %s",
					unpack_sql_state(edata->sqlerrcode), WITHHELD),
			 errhidestmt(true), errhidecontext(true)));
	inside = false;
}

/*
 * The hook: called before an entry is written, in every process.
 */
static void
EmitLog(ErrorData *edata)
{
	if (!IsUnderPostmaster)
	{
		/* "Failed process was running: ..." of a statement that ended before HvLogEnter() */
		if (Names(edata->detail) && Find(edata->detail, WITHHELD) == NULL)
			edata->detail = pstrdup(WITHHELD);	/* errfinish() frees it */
	}
	else if (Entered() || Names(debug_query_string) || ExecutesNaming(debug_query_string))
	{
		edata->hide_stmt = true;
		edata->hide_ctx = true;
		edata->detail_log = NULL;
		if (edata->elevel <= LOG_SERVER_ONLY)
			CutStatement(edata);
		else if (edata->elevel >= ERROR && !Entered())
			WithholdMessage(edata);
	}
	if (next_hook)
		next_hook(edata);
}

/*
 * Say that a function which takes a value is entered: from here on the text of the statement is nobody's.
 */
void
HvLogEnter(const char *function)
{
	char		activity[NAMEDATALEN + sizeof(WITHHELD)];

	entered_at = GetCurrentStatementStartTimestamp();
	snprintf(activity, sizeof(activity), "vault.%s() %s", function, WITHHELD);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * Install the hook. Safe in the postmaster.
 */
void
HvLogInit(void)
{
	next_hook = emit_log_hook;
	emit_log_hook = EmitLog;
}
