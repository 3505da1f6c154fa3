/*
 * rolepassword.c: makes, compares and sets passwords of PostgreSQL's own roles.
 *
 * The server's own functions do it, apart from the row of pg_authid when everything has been decided. Theirs is the rule of
 * what a password is (SASLprep), how many iterations a verifier has, and who may set the password of which role.
 */
#include "hyperion_vault.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "arg.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "commands/user.h"
#include "libpq/crypt.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "rolepassword.h"
#include "rolesession.h"
#include "scram.h"
#include "secretmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define SCRATCH_LEN		(64 * 1024)

/* libpq/scram.h needs the headers of GSSAPI, which few machines have. */
extern char *pg_be_scram_build_secret(const char *password);

/* memory in one piece for the server's functions, which free copies of a password without wiping them */
typedef struct Scratch
{
	MemoryContext context;
	MemoryContext before;
	char	   *start;
} Scratch;

/*
 * Make scratch memory current. Its first block stands after the header of the context, in one piece with it.
 */
static void
BeginScratch(Scratch *scratch)
{
	scratch->before = CurrentMemoryContext;
	scratch->context = AllocSetContextCreateInternal(CurrentMemoryContext, "hyperion_vault password",
													 SCRATCH_LEN, SCRATCH_LEN, SCRATCH_LEN);
	MemoryContextSwitchTo(scratch->context);
	scratch->start = palloc(1);
}

/*
 * Wipe and free scratch memory; what is current is again what was before. What has not fitted into the first block, forms of
 * a password of hundreds of characters beyond ASCII, is freed and not wiped.
 */
static void
EndScratch(Scratch *scratch)
{
	MemoryContextSwitchTo(scratch->before);
	MemoryContextReset(scratch->context);
	explicit_bzero(scratch->start, (char *) scratch->context + SCRATCH_LEN - scratch->start);
	MemoryContextDelete(scratch->context);
}

/*
 * A password as the server's functions take it, with a zero byte after it, in the current context. ereports if it cannot be
 * one.
 */
static char *
PasswordString(HvBytes password)
{
	if (password.len == 0 || password.len > HV_MAX_PASSWORD_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the password of a role must be between 1 and %d bytes", HV_MAX_PASSWORD_LEN)));
	if (memchr(password.data, '\0', password.len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the password of a role must not have a zero byte")));
	return pnstrdup((const char *) password.data, password.len);
}

char *
HvScramVerifier(HvBytes password)
{
	Scratch		scratch;
	char	   *made;
	char	   *verifier;
	Size		len;

	BeginScratch(&scratch);
	PG_TRY();
	{
		const char *plain = PasswordString(password);

		made = HvMakeVerifier(plain);
		if (made == NULL)
			made = pg_be_scram_build_secret(plain);
		len = strlen(made) + 1;
		MemoryContextSwitchTo(scratch.before);
		verifier = memcpy(HvSecretAlloc(len), made, len);
	}
	PG_CATCH();
	{
		EndScratch(&scratch);
		PG_RE_THROW();
	}
	PG_END_TRY();
	EndScratch(&scratch);
	return verifier;
}

bool
HvIsScram(const char *verifier)
{
	return verifier != NULL && get_password_type(verifier) == PASSWORD_TYPE_SCRAM_SHA_256 && strlen(verifier) <= 512;
}

void
HvCheckVerifier(const char *verifier)
{
	if (!HvIsScram(verifier))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the verifier of a password must be one of SCRAM-SHA-256")));
}

char *
HvStoredVerifier(Oid role, char **stored)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Datum		password;
	bool		isnull;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	name = pstrdup(NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname));
	password = SysCacheGetAttr(AUTHOID, tuple, Anum_pg_authid_rolpassword, &isnull);
	*stored = isnull ? NULL : TextDatumGetCString(password);
	ReleaseSysCache(tuple);
	return name;
}

bool
HvStoredIs(const char *name, const char *stored, HvBytes password)
{
	Scratch		scratch;
	volatile bool is = false;

	BeginScratch(&scratch);
	PG_TRY();
	{
		const char *why = NULL;

		is = plain_crypt_verify(name, stored, PasswordString(password), &why) == STATUS_OK;
	}
	PG_CATCH();
	{
		EndScratch(&scratch);
		PG_RE_THROW();
	}
	PG_END_TRY();
	EndScratch(&scratch);
	return is;
}

bool
HvPasswordIs(Oid role, HvBytes password)
{
	char	   *stored;
	char	   *name = HvStoredVerifier(role, &stored);

	return stored != NULL && HvStoredIs(name, stored, password);
}

void
HvRunAs(Oid as, void (*run) (void *arg), void *arg)
{
	Oid			caller;
	int			context;

	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(OidIsValid(as) ? as : BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	PG_TRY();
	{
		run(arg);
	}
	PG_FINALLY();
	{
		SetUserIdAndSecContext(caller, context);
	}
	PG_END_TRY();
}

static void
AlterPassword(void *arg)
{
	ParseState *state = make_parsestate(NULL);

	AlterRole(state, arg);
	free_parsestate(state);
}

/*
 * Append an option with a text; NULL is none.
 */
static List *
AddOption(List *options, char *name, const char *value)
{
	if (value == NULL)
		return options;
	return lappend(options, makeDefElem(name, (Node *) makeString((char *) value), -1));
}

/*
 * Have the module that checks passwords see a verifier, as it sees those of ALTER ROLE. May ereport.
 */
static void
CheckByModule(HeapTuple tuple, TupleDesc columns, const char *verifier, const Datum *until)
{
	bool		isnull = false;
	Datum		valid_until = until != NULL ? *until : heap_getattr(tuple, Anum_pg_authid_rolvaliduntil, columns, &isnull);

	if (check_password_hook)
		(*check_password_hook) (NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname), verifier,
								PASSWORD_TYPE_SCRAM_SHA_256, valid_until, isnull);
}

void
HvStoreLogin(Oid role, const char *verifier, const TimestampTz *valid_until)
{
	Relation	roles = table_open(AuthIdRelationId, RowExclusiveLock);
	HeapTuple	tuple;
	HeapTuple	changed;
	Datum		values[Natts_pg_authid] = {0};
	bool		nulls[Natts_pg_authid] = {false};
	bool		replaced[Natts_pg_authid] = {false};
	Datum	   *until = &values[Anum_pg_authid_rolvaliduntil - 1];

	HvLockRole(role);
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (valid_until != NULL)
		*until = TimestampTzGetDatum(*valid_until);
	replaced[Anum_pg_authid_rolvaliduntil - 1] = valid_until != NULL;
	if (verifier != NULL)
	{
		HvCheckVerifier(verifier);
		CheckByModule(tuple, RelationGetDescr(roles), verifier, valid_until != NULL ? until : NULL);
		values[Anum_pg_authid_rolpassword - 1] = CStringGetTextDatum(verifier);
		replaced[Anum_pg_authid_rolpassword - 1] = true;
	}
	changed = heap_modify_tuple(tuple, RelationGetDescr(roles), values, nulls, replaced);
	CatalogTupleUpdate(roles, &changed->t_self, changed);
	InvokeObjectPostAlterHook(AuthIdRelationId, role, 0);
	ReleaseSysCache(tuple);
	table_close(roles, NoLock);
	CommandCounterIncrement();
}

void
HvAlterRole(Oid as, Oid role, const char *verifier, const char *valid_until)
{
	AlterRoleStmt *statement = makeNode(AlterRoleStmt);
	TimestampTz until;

	if (as == HV_AS_VAULT)
	{
		if (valid_until != NULL)
			until = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(valid_until),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		HvStoreLogin(role, verifier, valid_until == NULL ? NULL : &until);
		return;
	}
	if (verifier != NULL)
		HvCheckVerifier(verifier);
	statement->role = makeNode(RoleSpec);
	statement->role->roletype = ROLESPEC_CSTRING;
	statement->role->rolename = GetUserNameFromId(role, false);
	statement->role->location = -1;
	statement->action = +1;
	statement->options = AddOption(AddOption(NIL, "password", verifier), "validUntil", valid_until);
	HvLockRole(role);
	HvRunAs(as, AlterPassword, statement);
	CommandCounterIncrement();
}

/*
 * ereport unless a function of the vault's calls, or a superuser: these can set the password of any role.
 */
void
HvRequireOwner(void)
{
	if (!superuser() && GetUserId() != get_role_oid(HV_OWNER_NAME, false))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only functions of the vault call this")));
}

PG_FUNCTION_INFO_V1(hv_alter_role);

Datum
hv_alter_role(PG_FUNCTION_ARGS)
{
	char	   *verifier = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *until = PG_ARGISNULL(2) ? NULL : pstrdup(timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(2)));

	HvLogGive();
	HvRequireOwner();
	RequireArg(fcinfo, 0, "role");
	if (verifier != NULL)
		HvSettleAfterCommit();
	HvAlterRole(PG_ARGISNULL(3) ? HV_AS_VAULT : PG_GETARG_OID(3), PG_GETARG_OID(0), verifier, until);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(hv_role_has);

Datum
hv_role_has(PG_FUNCTION_ARGS)
{
	char	   *stored;

	HvRequireOwner();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || GetUserNameFromId(PG_GETARG_OID(0), true) == NULL)
		PG_RETURN_NULL();
	HvStoredVerifier(PG_GETARG_OID(0), &stored);
	PG_RETURN_BOOL(stored != NULL && strcmp(stored, text_to_cstring(PG_GETARG_TEXT_PP(1))) == 0);
}

/* For tests that declare them themselves, as a superuser; no script of ours does. */

PG_FUNCTION_INFO_V1(hv_test_alter_role);

/*
 * Arguments are the role to act as, 0 for the vault, the role to alter, its password as bytea, and VALID UNTIL. Reports whether
 * the role has that password then.
 */
Datum
hv_test_alter_role(PG_FUNCTION_ARGS)
{
	bytea	   *password = PG_GETARG_BYTEA_PP(2);
	HvBytes		bytes = {(const unsigned char *) VARDATA_ANY(password), VARSIZE_ANY_EXHDR(password)};

	HvLogEnter("test_alter_role");
	HvAlterRole(PG_GETARG_OID(0), PG_GETARG_OID(1), HvScramVerifier(bytes),
				PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	PG_RETURN_BOOL(HvPasswordIs(PG_GETARG_OID(1), bytes));
}

PG_FUNCTION_INFO_V1(hv_test_matches);

/*
 * Whether a verifier is one of a password, by the server's own rule.
 */
Datum
hv_test_matches(PG_FUNCTION_ARGS)
{
	bytea	   *password = PG_GETARG_BYTEA_PP(1);
	const char *why = NULL;

	PG_RETURN_BOOL(plain_crypt_verify("role", text_to_cstring(PG_GETARG_TEXT_PP(0)),
									  pnstrdup(VARDATA_ANY(password), VARSIZE_ANY_EXHDR(password)), &why) == STATUS_OK);
}

PG_FUNCTION_INFO_V1(hv_test_verifier);

/*
 * The verifier of a password, as a rotation makes it.
 */
Datum
hv_test_verifier(PG_FUNCTION_ARGS)
{
	bytea	   *password = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(cstring_to_text(HvScramVerifier((HvBytes) {(const unsigned char *) VARDATA_ANY(password), VARSIZE_ANY_EXHDR(password)})));
}
