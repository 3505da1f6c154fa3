/*
 * leasedrecord.c: records reads with leased keys in the file that the key agent has handed over (frame.AppendLeasedRead).
 *
 * A record is one write(2). The kernel has it then, whatever becomes of this process, the postmaster or the agent, and
 * the audit journal takes it from there.
 */
#include "hyperion_vault.h"

#include <unistd.h>

#include "agent.h"
#include "datatype/timestamp.h"
#include "keylease.h"
#include "port/pg_crc32c.h"
#include "request.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define RECORD_START	'\x01'
#define SUM_LEN			8
#define HEAD_LEN		(1 + SUM_LEN + 1)
#define MAX_RECORD		8192	/* as core/frame.MaxLeasedRead */
#define NUMBER_LEN		24		/* more than a number takes, with its separator */
#define UNIX_EPOCH_USECS	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static int	file = -1;
static uint64 file_number = 0;

/*
 * The number of the file that is open; 0 for none.
 */
uint64
HvLeasedFile(void)
{
	return file_number;
}

void
HvCloseLeasedFile(void)
{
	if (file < 0)
		return;
	close(file);
	ReleaseExternalFD();
	file = -1;
	file_number = 0;
}

/*
 * Record in a file from now on, whose fd is -1 if it is the open one. Report whether that succeeded.
 */
bool
HvTakeLeasedFile(uint64 number, int fd)
{
	if (fd < 0)
		return number != 0 && number == file_number;
	HvCloseLeasedFile();
	if (number == 0 || !AcquireExternalFD())
	{
		close(fd);
		return false;
	}
	file = fd;
	file_number = number;
	return true;
}

static const char digits[] = "0123456789abcdef";

/*
 * Append a text after a separator: a backslash and every byte below 0x20 is written by its number.
 */
static char *
AppendText(char *to, HvBytes text)
{
	*to++ = '\t';
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = text.data[i];

		if (c >= 0x20 && c != '\\')
		{
			*to++ = (char) c;
			continue;
		}
		*to++ = '\\';
		*to++ = digits[c >> 4];
		*to++ = digits[c & 15];
	}
	return to;
}

static void
PutSum(char *to, const char *body, size_t len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, body, len);
	FIN_CRC32C(crc);
	for (int i = 0; i < SUM_LEN; i++)
		to[i] = digits[(crc >> (28 - 4 * i)) & 15];
}

/*
 * The record of a read, in memory for the longest; its length, 0 when it would be too long.
 */
static size_t
MakeRecord(char *record, const HvCall *call, int64 version)
{
	const HvOrigin *o = &call->origin;
	const HvBytes texts[] = {o->database, o->role, o->session_role, o->client_addr, o->request_id, call->name};
	size_t		most = HEAD_LEN + 2 * NUMBER_LEN;
	char	   *at = record + HEAD_LEN;

	for (int i = 0; i < lengthof(texts); i++)
		most += 1 + 3 * texts[i].len;
	if (most > MAX_RECORD || !HvIsPlainOrigin(o))
		return 0;
	record[0] = RECORD_START;
	record[HEAD_LEN - 1] = '\t';
	at += pg_lltoa(GetCurrentTimestamp() + UNIX_EPOCH_USECS, at);
	for (int i = 0; i < lengthof(texts); i++)
		at = AppendText(at, texts[i]);
	*at++ = '\t';
	at += pg_lltoa(version, at);
	PutSum(record + 1, record + HEAD_LEN, at - record - HEAD_LEN);
	*at++ = '\n';
	return at - record;
}

/*
 * Record a read; whether the whole record is on its way to durable storage. What is written of it otherwise is no record.
 */
bool
HvRecordLeased(const HvCall *call, int64 version)
{
	char		record[MAX_RECORD];
	size_t		len;
	ssize_t		written;

	if (file < 0)
		return false;
	len = MakeRecord(record, call, version);
	if (len == 0)
		return false;
	do
		written = write(file, record, len);
	while (written < 0 && errno == EINTR);
	return written == (ssize_t) len;
}
