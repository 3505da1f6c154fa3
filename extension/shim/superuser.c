/*
 * superuser.c: whether a role is a superuser, for the decisions.
 */
#include "hyperion_vault.h"

#include "runas.h"
#include "sealed.h"

PG_FUNCTION_INFO_V1(hv_is_superuser);

/*
 * Whether a role is a superuser; false for NULL. A query of pg_roles costs as much as the rest of a decision.
 */
Datum
hv_is_superuser(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && HvIsSuperuser(PG_GETARG_OID(0)));
}
