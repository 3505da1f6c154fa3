/*
 * logredact.c: keeps plaintext out of the server log.
 *
 * A value can stand in the text of a statement, as a literal, in its parameters, and in what PostgreSQL says about
 * either: an error quotes what it stumbles over. All of that goes to the log: when the statement fails, when statements
 * or durations are logged, by auto_explain and debug_print_*, and when the backend crashes, then from the postmaster,
 * out of what pg_stat_activity shows. So a log entry of a statement that has to do with a value keeps only what cannot
 * hold one, and the activity is overwritten as soon as a function that takes a value is entered.
 *
 * These statements are withheld:
 * - A statement whose text names such a function, or that runs a prepared statement or a cursor that does.
 * - A statement with a literal that names the vault. A misspelt call counts: its text names something like the vault, and
 *   the statement fails as it is written.
 * - Any statement in which such a function was entered or a value was read, since another function may have called it.
 * - A statement whose log entry names such a function, because a function has made that statement.
 *
 * What cannot hold a value is logged, which is a message of this library, and the fixed part of any other's format.
 */
#include "hyperion_vault.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "statement.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

#define WITHHELD	"<withheld by hyperion_vault>"

static emit_log_hook_type next_hook;
static TimestampTz entered_at = DT_NOBEGIN;	/* start of the last statement that HvLogEnter() or HvLogGive() was of */

/*
 * Whether the present statement has entered a function that takes a value, or has been given one. Between statements
 * there is none, but for what a commit runs.
 */
bool
HvEntered(void)
{
	return entered_at == GetCurrentStatementStartTimestamp() && (debug_query_string != NULL || IsTransactionState());
}

/*
 * How the statement of an entry has failed. It fails as it is written by its syntax, or because nothing has that name or
 * those types. Other errors of that class do no harm here, but a missing privilege does not belong to them.
 */
static HvFailure
FailureOf(const ErrorData *edata)
{
	int			category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);

	if (edata->elevel < ERROR)
		return HV_NO_FAILURE;
	if (edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
		return HV_FAILED;
	if (category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION || category == ERRCODE_INVALID_SCHEMA_NAME ||
		category == ERRCODE_INVALID_CATALOG_NAME || edata->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED ||
		edata->sqlerrcode == ERRCODE_UNDEFINED_PSTATEMENT)	/* EXECUTE for SELECT */
		return HV_FAILED_AS_WRITTEN;
	return HV_FAILED;
}

/*
 * Whether an entry is of a statement that has to do with a value.
 */
static bool
EntryConcernsValue(const ErrorData *edata)
{
	const char *texts[] = {
		debug_query_string, edata->message, edata->detail, edata->hint, edata->context, edata->internalquery
	};
	const char *statements[] = {debug_query_string, edata->message, edata->context, edata->internalquery};

	if (HvEntered())
		return true;
	for (int i = 0; i < lengthof(statements); i++)
		if (HvSlips(statements[i], FailureOf(edata)))
			return true;
	for (int i = 0; i < lengthof(texts); i++)
		if (HvNames(texts[i]) || HvRunsNaming(texts[i]))
			return true;
	return false;
}

/*
 * Whether an entry cannot hold a value but in its statement and context: ours, those of waits for locks, and those
 * of which the text is the same whatever happens. RAISE and its like have the format "%s".
 */
static bool
IsHarmless(const ErrorData *edata)
{
	const char *format = edata->message_id;

	if (edata->internalquery != NULL)
		return false;
	if (edata->domain != NULL && strcmp(edata->domain, TEXTDOMAIN) == 0)
		return true;
	return format != NULL &&
		(strncmp(format, "process %d ", strlen("process %d ")) == 0 ||
		 (strchr(format, '%') == NULL && edata->detail == NULL && edata->detail_log == NULL && edata->hint == NULL));
}

/*
 * Return what of a message cannot hold a value: its format up to the first conversion, and a duration. Palloc'd.
 */
static char *
FixedText(const ErrorData *edata)
{
	const char *format = edata->message_id == NULL ? "%s" : edata->message_id;
	int			fixed = strcspn(format, "%");
	const char *number;
	const char *unit;

	if (format[fixed] == '\0')
		return pstrdup(format);
	unit = strncmp(format, "duration: %", strlen("duration: %")) == 0 ? strstr(format, " ms") : NULL;
	if (unit == NULL)
		return psprintf("%.*s%s", fixed, format, WITHHELD);
	number = edata->message + strcspn(edata->message, "0123456789");	/* the message may be a translated one */
	fixed = strcspn(unit, "%");
	return psprintf("duration: %.*s%.*s%s", (int) strspn(number, "0123456789."), number, fixed, unit,
					unit[fixed] == '\0' ? "" : WITHHELD);
}

/*
 * Have an entry of ours written in the place of another, which is left as it is for the client. Without the callbacks
 * of what is under way: they would put their text into ours, and that would be replaced in its turn, and so on.
 */
static void
ReplaceEntry(ErrorData *edata)
{
	ErrorContextCallback *callbacks = error_context_stack;
	char	   *text;

	edata->output_to_server = false;
	error_context_stack = NULL;
	text = FixedText(edata);
	if (edata->elevel >= ERROR)
		ereport(LOG_SERVER_ONLY,
				(errcode(edata->sqlerrcode),
				 errmsg("a statement that calls hyperion_vault failed: SQLSTATE %s, text %s",
						unpack_sql_state(edata->sqlerrcode), text),
				 errhidestmt(true), errhidecontext(true)));
	else
		ereport(LOG_SERVER_ONLY,
				(errmsg_internal("%s", text), errhidestmt(true), errhidecontext(true)));
	pfree(text);				/* the context of errors is not reset after every entry */
	error_context_stack = callbacks;
}

/*
 * Whether a text may show what a session, any, is running, and that this has to do with a value. A long text was cut,
 * maybe before the name; of what EXECUTE runs only the session itself knows.
 */
static bool
ShowsNaming(const char *text)
{
	return text != NULL &&
		(HvNames(text) || HvFind(text, "execute") != NULL || strlen(text) >= pgstat_track_activity_query_size - 1);
}

/*
 * The hook: called before an entry is written, in every process.
 */
static void
EmitLog(ErrorData *edata)
{
	/* "Failed process was running: ..." of a statement that ended before HvLogEnter() */
	if (!IsUnderPostmaster && ShowsNaming(edata->detail) && HvFind(edata->detail, WITHHELD) == NULL)
	{
		pfree(edata->detail);
		edata->detail = pstrdup(WITHHELD);	/* errfinish() frees it */
	}
	/* A deadlock shows what the others were running. */
	if (ShowsNaming(edata->detail_log))
	{
		pfree(edata->detail_log);
		edata->detail_log = NULL;
	}
	if (IsUnderPostmaster && EntryConcernsValue(edata))
	{
		if (!IsHarmless(edata))
		{
			ReplaceEntry(edata);
			return;
		}
		edata->hide_stmt = true;
		edata->hide_ctx = true;
	}
	if (next_hook)
		next_hook(edata);
}

/*
 * Say that a function which takes a value is entered: from here on no log may show the text of the statement.
 */
void
HvLogEnter(const char *function)
{
	char		activity[NAMEDATALEN + sizeof(WITHHELD)];

	HvLogGive();
	snprintf(activity, sizeof(activity), "vault.%s() %s", function, WITHHELD);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * Say that the statement is given a value: it does not stand in its text, but its errors may quote it, and the
 * statements that it makes may hold it.
 */
void
HvLogGive(void)
{
	entered_at = GetCurrentStatementStartTimestamp();
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
