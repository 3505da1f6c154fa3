/*
 * statement.c: which statements have to do with a value, by their text.
 *
 * A text is not parsed: it may be wrong, and then it is logged because it is. So it is searched for what can stand in it
 * by whatever spelling, and what is a comment or a literal in it counts as well, for a wrong answer would show the value.
 */
#include "hyperion_vault.h"

#include <ctype.h>

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/portal.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/*
 * Case-insensitive strstr, for ASCII; the word is in lower case and begins with a letter.
 */
const char *
HvFind(const char *text, const char *word)
{
	size_t		len = strlen(word);

	for (; *text != '\0'; text++)
		if ((*text | 0x20) == *word && pg_strncasecmp(text, word, len) == 0)
			return text;
	return NULL;
}

static bool
InIdentifier(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

/*
 * Whether a text calls verify() or verify_version(), of whatever schema: search_path may hold ours.
 */
static bool
CallsVerify(const char *text)
{
	for (const char *at = text; (at = HvFind(at, "verify")) != NULL; at++)
	{
		const char *end = at + strlen("verify");

		if (at > text && InIdentifier(at[-1]))
			continue;
		if (pg_strncasecmp(end, "_version", strlen("_version")) == 0)
			end += strlen("_version");
		end += *end == '"';
		end += strspn(end, " \t\n\r\f\v");
		if (*end == '(' || strncmp(end, "/*", 2) == 0 || strncmp(end, "--", 2) == 0)
			return true;
	}
	return false;
}

/*
 * Whether a text names a function that takes a value, or an identifier by escapes, which may be one's.
 */
bool
HvNames(const char *text)
{
	return text != NULL &&
		(HvFind(text, "create_secret") != NULL || HvFind(text, "update_secret") != NULL ||
		 HvFind(text, "issue_role_as") != NULL ||
		 HvFind(text, "import_role") != NULL || HvFind(text, "with_verifier") != NULL || HvFind(text, "offer_verifier") != NULL ||
		 (HvFind(text, "vault") != NULL && HvFind(text, "verify") != NULL) ||
		 CallsVerify(text) || HvFind(text, "u&\"") != NULL);
}

/*
 * The identifier that may begin at a place of a text, as the scanner would read it: palloc'd.
 */
static char *
IdentifierAt(const char *at)
{
	char		name[2 * NAMEDATALEN];	/* the scanner truncates by characters, which takes some bytes more */
	char	   *copy;
	int			len = 0;

	if (*at != '"')
	{
		while (InIdentifier(at[len]) && len < sizeof(name))
			len++;
		return downcase_truncate_identifier(at, len, false);
	}
	for (at++; *at != '\0' && len < sizeof(name); at++)
	{
		if (*at == '"' && *++at != '"')
			break;
		name[len++] = *at;
	}
	copy = pnstrdup(name, len);
	truncate_identifier(copy, len, false);
	return copy;
}

/*
 * Whether a prepared statement or a cursor names such a function. Only memory is read: the transaction may be
 * aborted.
 */
static bool
IsNaming(const char *name)
{
	PreparedStatement *prepared = FetchPreparedStatement(name, false);
	Portal		portal = GetPortalByName(name);

	return (prepared != NULL && HvNames(prepared->plansource->query_string)) ||
		(PortalIsValid(portal) && HvNames(portal->sourceText));
}

/*
 * Whether a text may run a prepared statement or a cursor that does: it has the word, and somewhere the name. What is
 * a comment or a literal in it is not asked, for then a wrong answer would show the value.
 */
bool
HvRunsNaming(const char *text)
{
	bool		naming = false;

	if (text == NULL || !OidIsValid(MyDatabaseId) ||
		(HvFind(text, "execute") == NULL && HvFind(text, "fetch") == NULL && HvFind(text, "move") == NULL))
		return false;
	for (bool inside = false; *text != '\0' && !naming; text++)
	{
		if (*text == '"' || (InIdentifier(*text) && *text != '$' && !inside))
		{
			char	   *name = IdentifierAt(text);

			naming = IsNaming(name);
			pfree(name);
		}
		inside = InIdentifier(*text) && (inside || *text != '$');
	}
	return naming;
}

/*
 * Whether a text holds a literal: a string, or a number that is not part of a name or a parameter.
 */
static bool
HoldsLiteral(const char *text)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		bool		starts = at == text || !InIdentifier(at[-1]);

		if (*at == '\'' || (starts && *at == '$' && !isdigit((unsigned char) at[1])) ||
			(starts && isdigit((unsigned char) *at)))
			return true;
	}
	return false;
}

/*
 * Whether a text names the schema: as an identifier of its own, before a point.
 */
static bool
NamesSchema(const char *text)
{
	for (const char *at = text; (at = HvFind(at, HV_SCHEMA_NAME)) != NULL; at++)
	{
		const char *end = at + strlen(HV_SCHEMA_NAME);

		if (at > text && InIdentifier(at[-1]))
			continue;
		end += *end == '"';
		end += strspn(end, " \t\n\r\f\v");
		if (*end == '.' || strncmp(end, "/*", 2) == 0 || strncmp(end, "--", 2) == 0)
			return true;
	}
	return false;
}

/*
 * Report whether a text has, before a point, a name that resembles the schema's. Two letters may be wrong, missing or too
 * many.
 */
static bool
ResemblesSchema(const char *text)
{
	const int	most = 2;
	const int	expected = strlen(HV_SCHEMA_NAME);

	for (const char *at = text; *at != '\0'; at++)
	{
		int			len = 0;
		const char *end;
		char	   *name;
		bool		resembles;

		if (!isalpha((unsigned char) *at) || (at > text && InIdentifier(at[-1])))
			continue;
		while (isalnum((unsigned char) at[len]) || at[len] == '_')
			len++;
		end = at + len + (at[len] == '"');
		end += strspn(end, " \t\n\r\f\v");
		if (abs(len - expected) > most || *end != '.')
			continue;
		name = downcase_identifier(at, len, false, false);
		resembles = varstr_levenshtein_less_equal(name, len, HV_SCHEMA_NAME, expected, 1, 1, 1, most, true) <= most;
		pfree(name);
		if (resembles)
			return true;
	}
	return false;
}

/*
 * Whether a text may be a slip that holds a value: it has a literal and names the schema, or a function that one can take
 * for one that takes a value. A slip that PostgreSQL has found out to be one may have misspelt the schema and the
 * function, or miss the point between them, or name anything where search_path has the schema.
 */
bool
HvSlips(const char *text, HvFailure failure)
{
	static const char *const ours[] = {
		"read_secret", "rotate_secret", "configure_secret", "delete_secret", "list_secrets", "expire_version",
		"delete_versions", "undelete_versions", "destroy_versions", "set_version_settings", "list_versions", "create_metadata",
		"bind_role", "repair_role"
	};

	if (text == NULL || (!HoldsLiteral(text) && (failure == HV_NO_FAILURE || strchr(text, '$') == NULL)))
		return false;
	if (NamesSchema(text))
		return true;
	if (failure == HV_FAILED_AS_WRITTEN &&
		(HvFind(text, HV_SCHEMA_NAME) != NULL || HvFind(text, "secr") != NULL || ResemblesSchema(text) ||
		 (namespace_search_path != NULL && HvFind(namespace_search_path, HV_SCHEMA_NAME) != NULL)))
		return true;
	for (int i = 0; i < lengthof(ours); i++)
		if (HvFind(text, ours[i]) != NULL)
			return true;
	return false;
}

/*
 * Whether a function of that name, in any schema, has a source that names one which takes a value.
 */
static bool
IsCaller(const char *name, int depth)
{
	CatCList   *functions = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		is = false;

	for (int i = 0; i < functions->n_members && !is; i++)
	{
		bool		isnull;
		Datum		source = SysCacheGetAttr(PROCOID, &functions->members[i]->tuple, Anum_pg_proc_prosrc, &isnull);
		char	   *body = isnull ? NULL : TextDatumGetCString(source);

		is = body != NULL && (HvNames(body) || HvCallsNaming(body, depth - 1));
	}
	ReleaseSysCacheList(functions);
	return is;
}

/*
 * Whether a text calls a function that calls one which takes a value. Reads the catalogs.
 */
bool
HvCallsNaming(const char *text, int depth)
{
	bool		calls = false;

	if (depth <= 0)
		return false;
	for (bool inside = false; *text != '\0' && !calls; text++)
	{
		if (*text == '"' || (InIdentifier(*text) && !isdigit((unsigned char) *text) && *text != '$' && !inside))
		{
			const char *end = text + 1;

			while (*text == '"' ? *end != '\0' && *end != '"' : InIdentifier(*end))
				end++;
			end += *end == '"';
			end += strspn(end, " \t\n\r\f\v");
			if (*end == '(' || *end == '/' || *end == '-')
			{
				char	   *name = IdentifierAt(text);

				calls = name[0] != '\0' && IsCaller(name, depth);
				pfree(name);
			}
		}
		inside = InIdentifier(*text);
	}
	return calls;
}
