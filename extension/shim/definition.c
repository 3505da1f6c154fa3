/*
 * definition.c: what functions that do without a statement what a definition in SQL says have in common.
 */
#include "hyperion_vault.h"

#include "definition.h"
#include "executor/executor.h"
#include "sealed.h"
#include "utils/lsyscache.h"

/*
 * Take a row of one of our types apart; all is null of one that is null.
 */
void
HvTakeRow(NullableDatum argument, NullableDatum *values, int n)
{
	HeapTupleHeader row;
	bool		isnull;

	for (int i = 0; i < n; i++)
		values[i] = (NullableDatum) {(Datum) 0, true};
	if (argument.isnull)
		return;
	row = DatumGetHeapTupleHeader(argument.value);
	for (int i = 0; i < n; i++)
	{
		values[i].value = GetAttributeByNum(row, i + 1, &isnull);
		values[i].isnull = isnull;
	}
}

/*
 * Call the definition, which is a function of schema vault that takes the same arguments.
 */
Datum
HvCallDefinition(FunctionCallInfo fcinfo, const char *name)
{
	LOCAL_FCINFO(called, FUNC_MAX_ARGS);
	FmgrInfo	function;
	Oid		   *types;
	int			n;
	Datum		result;

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	fmgr_info(HvFunction(name, types, n), &function);
	InitFunctionCallInfoData(*called, &function, n, InvalidOid, NULL, NULL);
	for (int i = 0; i < n; i++)
		called->args[i] = fcinfo->args[i];
	result = FunctionCallInvoke(called);
	fcinfo->isnull = called->isnull;
	return result;
}
