/*
 * encoding.c: values between UTF-8, in which they are sealed, and the server's encoding, and as arguments.
 *
 * Not by pg_server_to_any and its like: their errors quote the bytes that cannot be converted, and those are a part
 * of a secret.
 */
#include "hyperion_vault.h"

#include "access/detoast.h"
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

/*
 * ereport if a value is longer than a limit.
 */
static void
CheckLength(Size len, Size limit)
{
	if (len > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value is %zu bytes long, the limit is %d", len, HvMaxValueBytes),
				 errhint(HV_TOO_LONG_HINT)));
}

/*
 * A value argument as the bytes that are sealed or compared: text in UTF-8, bytea as it is. One that is too long is
 * refused before anything is done with it: what Go does with a value cannot be cancelled.
 */
HvBytes
HvValueArg(FunctionCallInfo fcinfo, int arg, bool is_text)
{
	struct varlena *value;
	HvBytes		bytes;

	/* What its UTF-8 cannot be short enough for, is not even decompressed. */
	CheckLength(toast_raw_datum_size(PG_GETARG_DATUM(arg)) - VARHDRSZ,
				(Size) HvMaxValueBytes * (is_text ? MAX_MULTIBYTE_CHAR_LEN : 1));
	value = PG_GETARG_VARLENA_PP(arg);
	bytes = (HvBytes) {(const unsigned char *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
	if (is_text)
		bytes = HvValueToUtf8(bytes);
	CheckLength(bytes.len, HvMaxValueBytes);
	return bytes;
}
