/*
 * encoding.c: values between UTF-8, in which they are sealed, and the server's encoding.
 *
 * Not by pg_server_to_any and its like: their errors quote the bytes that cannot be converted, and those are a part
 * of a secret.
 */
#include "hyperion_vault.h"

#include "catalog/namespace.h"
#include "encoding.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "utils/memutils.h"

/*
 * Converted into wipe-on-reset memory of the current context; the value itself where there is nothing to convert. An
 * SQL_ASCII database knows no encoding: its bytes are taken for UTF-8, and checked where all values are. May ereport.
 */
static HvBytes
Convert(HvBytes value, int from, int to)
{
	Oid			conversion;
	Size		room = value.len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *converted;

	if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII || value.len == 0)
		return value;
	if (room > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value is too long to be converted")));
	conversion = FindDefaultConversionProc(from, to);
	converted = HvSecretAlloc(room);
	if (!OidIsValid(conversion) ||
		pg_do_encoding_conversion_buf(conversion, from, to, unconstify(unsigned char *, value.data), (int) value.len,
									  converted, (int) room, true) != (int) value.len)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("value has a character that encoding \"%s\" does not have", pg_encoding_to_char(to)),
				 errhint("The functions that take and return bytea convert nothing.")));
	return (HvBytes) {converted, strlen((char *) converted)};
}

/*
 * A value in the server's encoding as UTF-8.
 */
HvBytes
HvValueToUtf8(HvBytes value)
{
	return Convert(value, GetDatabaseEncoding(), PG_UTF8);
}

/*
 * A value in UTF-8, without zero bytes, in the server's encoding.
 */
HvBytes
HvValueToServer(HvBytes value)
{
	return Convert(value, PG_UTF8, GetDatabaseEncoding());
}
