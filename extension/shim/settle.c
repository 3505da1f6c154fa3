/*
 * settle.c: notes by when the new passwords of bound roles had been committed, without a statement.
 *
 * The supervisor does it after each commit that gave a role a password. A statement would be planned each time, because a role
 * has changed (docs/decisions/0200). vault.settle_roles() is the definition.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "rolesession.h"
#include "tablewrite.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum UnsettledColumn
{
	UNSETTLED_SECRET, UNSETTLED_AT
};

static HvTable unsettled_table = {
	"role_verifiers", "role_verifiers_unsettled_idx", "settled_at", 1,
	{
		[UNSETTLED_SECRET] = {"secret_id", UUIDOID},
		[UNSETTLED_AT] = {"settled_at", TIMESTAMPTZOID},
	}
};

/*
 * Note the time of each row that is not settled yet and that no other transaction has.
 */
static void
SettleEach(HvTarget *verifiers)
{
	static const int columns[] = {UNSETTLED_AT};
	HeapTuple	row;

	HvBeginScan(&verifiers->scan, GetActiveSnapshot(), 0, NULL);
	while ((row = HvNextRow(&verifiers->scan)) != NULL)
	{
		/* What is seen is committed, and the clock is read later: a login that begins after that has the new password. */
		NullableDatum now = {TimestampTzGetDatum(GetCurrentTimestamp()), false};

		if (HvLockRowOr(verifiers, row, LockTupleNoKeyExclusive, LockWaitSkip))
			HvUpdateRow(verifiers, row, lengthof(columns), columns, &now);
	}
	HvEndScan(&verifiers->scan);
}

/*
 * Settle the roles in the present transaction; false if a statement has to.
 */
bool
HvSettleDirectly(void)
{
	HvTarget	verifiers;
	HvWrites	writes;

	if (!HvOpenTarget(&unsettled_table, &verifiers))
		return false;
	HvBeginWrites(&writes);
	SettleEach(&verifiers);
	HvCloseTarget(&verifiers);
	HvEndWrites(&writes);
	return true;
}
