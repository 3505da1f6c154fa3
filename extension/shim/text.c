/*
 * text.c: texts and values as UTF-8 bytes.
 *
 * The vault needs a database in UTF8, where every text that a client sends is valid. Names of roles and databases are
 * shared by all databases of a cluster: one that was given in an SQL_ASCII database may be any bytes.
 */
#include "hyperion_vault.h"

#include "access/detoast.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "text.h"
#include "utils/builtins.h"

/*
 * ereport unless the database is in UTF8. CREATE EXTENSION refuses another one: this is for what was made before.
 */
void
HvRequireUtf8(void)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("hyperion_vault needs a database in UTF8, this one is in %s", GetDatabaseEncodingName()),
				 errhint("Copy the secrets into a database that was made with ENCODING 'UTF8'.")));
}

/*
 * The bytes of a text that is not compressed, borrowed.
 */
HvBytes
HvTextBytes(const text *t)
{
	return (HvBytes) {(const unsigned char *) VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
}

/*
 * A name of the catalogs or of the machine, zero-terminated. Each byte that is no UTF-8 is shown as \xHH, in two capital
 * digits, for what is not valid text would stop every reader of the row. Palloc'd if there is one.
 */
HvBytes
HvShown(const char *name)
{
	int			left = (int) strlen(name);
	StringInfoData shown;

	if (pg_verify_mbstr(PG_UTF8, name, left, true))
		return (HvBytes) {(const unsigned char *) name, left};
	initStringInfo(&shown);
	while (left > 0)
	{
		int			len = pg_encoding_verifymbchar(PG_UTF8, name, left);

		if (len > 0)
			appendBinaryStringInfo(&shown, name, len);
		else
			appendStringInfo(&shown, "\\x%02X", (unsigned char) *name);
		len = Max(len, 1);
		name += len;
		left -= len;
	}
	return (HvBytes) {(const unsigned char *) shown.data, shown.len};
}

PG_FUNCTION_INFO_V1(hv_shown_name);

/*
 * The same for a name in SQL.
 */
Datum
hv_shown_name(PG_FUNCTION_ARGS)
{
	HvBytes		shown = HvShown(NameStr(*PG_GETARG_NAME(0)));

	PG_RETURN_TEXT_P(cstring_to_text_with_len((const char *) shown.data, (int) shown.len));
}

/*
 * ereport if a value is longer than a limit.
 */
static void
CheckLength(Size len)
{
	if (len > HvMaxValueBytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value is %zu bytes long, the limit is %d", len, HvMaxValueBytes),
				 errhint(HV_TOO_LONG_HINT)));
}

/*
 * A value argument as the bytes that are sealed or compared. One that is too long is refused before anything is done with
 * it, decompressed for example: what Go does with a value cannot be cancelled.
 */
HvBytes
HvValueArg(FunctionCallInfo fcinfo, int arg)
{
	CheckLength(toast_raw_datum_size(PG_GETARG_DATUM(arg)) - VARHDRSZ);
	return HvTextBytes(PG_GETARG_VARLENA_PP(arg));
}
