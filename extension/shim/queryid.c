/*
 * queryid.c: keeps plaintext out of what collects statements by their query id.
 *
 * pg_stat_statements keeps texts in a file. It replaces the constants of a query, but not those of most commands around
 * one (EXPLAIN, CREATE TABLE AS, DECLARE, COPY, DO, CALL). It does not replace them either when it makes an entry again at
 * the end of a statement that was parsed before. Nothing collects a statement with the query id 0. The id is set where the
 * statement is analyzed, and all modules read it from there. Each module first calls the hook of those that were loaded
 * before it, so the order of shared_preload_libraries does not matter.
 */
#include "hyperion_vault.h"

#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "statement.h"

#if PG_VERSION_NUM >= 190000
typedef const JumbleState HvJumble;
#else
typedef JumbleState HvJumble;
#endif

static post_parse_analyze_hook_type next_hook;

/*
 * Whether a statement has to do with a value: it names a function that takes one, runs a prepared statement or a cursor
 * that does, or comes after one in the same string or function. A command may also call a function of another user that
 * does; a query may, too, but there the constants are replaced.
 */
static bool
StatementConcernsValue(const char *text, bool command)
{
	return HvEntered() || (text != NULL && (HvNames(text) || HvRunsNaming(text) ||
											(command && HvCallsNaming(text, HV_CALL_DEPTH))));
}

static void
OnParseAnalyze(ParseState *state, Query *query, HvJumble *jumble)
{
	if (query->queryId != 0 && StatementConcernsValue(state->p_sourcetext, query->utilityStmt != NULL))
		query->queryId = 0;
	if (next_hook)
		next_hook(state, query, jumble);
}

/*
 * Install the hook. Safe in the postmaster.
 */
void
HvQueryIdInit(void)
{
	next_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = OnParseAnalyze;
}
