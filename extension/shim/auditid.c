/*
 * auditid.c: the ids of audit records. An id is a base, plus the transaction's id times 2^22, plus the record's number in
 * its transaction. The base belongs to a timeline of the log (vault.audit_base); it is kept for the session.
 */
#include "hyperion_vault.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "note.h"
#include "runas.h"
#include "utils/lsyscache.h"

#define NUMBER_BITS	22

static HvStatement base_statement = {
	"SELECT n.base, n.made_by FROM vault.audit_base($1) n", 1, {INT8OID}
};

/* the base, and what it holds for; the table tells one life of the extension from the next */
static struct
{
	Oid			table;
	TimeLineID	timeline;
	int64		base;
}			kept;

/* how many ids this transaction has taken */
static struct
{
	FullTransactionId transaction;
	uint32		taken;
}			counted;

/*
 * Fetch the base of a timeline. It is kept only once the transaction that decided it has committed. May ereport. Not
 * safe in the postmaster.
 */
static int64
FetchIdBase(Oid table, TimeLineID timeline)
{
	HvParams	params = {0};
	bool		isnull[2];
	int64		base;
	TransactionId made_by;

	SPI_connect();
	HvAdd(&params, Int64GetDatum((int64) timeline));
	HvOwnerRun(&base_statement, &params);
	if (SPI_processed != 1)
		elog(ERROR, "vault.audit_base returned " UINT64_FORMAT " rows", SPI_processed);
	base = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0]));
	made_by = DatumGetTransactionId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull[1]));
	if (isnull[0] || isnull[1])
		elog(ERROR, "vault.audit_base returned null");
	SPI_finish();
	if (!TransactionIdIsCurrentTransactionId(made_by))
	{
		kept.table = table;
		kept.timeline = timeline;
		kept.base = base;
	}
	return base;
}

static int64
IdBase(void)
{
	Oid			table = get_relname_relid("audit_numbering", get_namespace_oid("vault", false));
	TimeLineID	timeline = GetWALInsertionTimeLine();

	if (OidIsValid(table) && kept.table == table && kept.timeline == timeline)
		return kept.base;
	return FetchIdBase(table, timeline);
}

/*
 * The id of the next audit record of this transaction. May ereport. Not safe in the postmaster.
 */
int64
HvNextAuditId(void)
{
	FullTransactionId transaction = GetTopFullTransactionId();
	int64		base = IdBase();

	if (!FullTransactionIdEquals(counted.transaction, transaction))
	{
		counted.transaction = transaction;
		counted.taken = 0;
	}
	if (counted.taken >= (uint32) 1 << NUMBER_BITS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("one transaction cannot write more than %u audit records", (uint32) 1 << NUMBER_BITS),
				 errhint("Commit now and then.")));
	return base + (int64) (U64FromFullTransactionId(transaction) << NUMBER_BITS) + counted.taken++;
}

PG_FUNCTION_INFO_V1(hv_next_audit_id);

Datum
hv_next_audit_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(HvNextAuditId());
}
