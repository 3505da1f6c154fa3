/*
 * golib.c: opens hyperion_vault_go.so after fork and guards the border to it.
 */
#include "hyperion_vault.h"

#include <dlfcn.h>
#include <libgen.h>
#include <signal.h>
#include <sys/prctl.h>

#include "arg.h"
#include "golib.h"
#include "secretmem.h"
#include "miscadmin.h"

static HvGoCalls calls;
static bool loaded = false;

/* name of each export, at the offset of its pointer */
static const struct
{
	const char *name;
	size_t		offset;
}			exports[] =
{
	{"HvgCheckName", offsetof(HvGoCalls, check_name)},
	{"HvgCheckPattern", offsetof(HvGoCalls, check_pattern)},
	{"HvgCheckPrefix", offsetof(HvGoCalls, check_prefix)},
	{"HvgContentType", offsetof(HvGoCalls, content_type)},
	{"HvgCheckPolicy", offsetof(HvGoCalls, check_policy)},
	{"HvgPolicyField", offsetof(HvGoCalls, policy_field)},
	{"HvgCheckField", offsetof(HvGoCalls, check_field)},
	{"HvgReplace", offsetof(HvGoCalls, replace)},
	{"HvgLogin", offsetof(HvGoCalls, login)},
	{"HvgSetUsername", offsetof(HvGoCalls, set_username)},
	{"HvgCheckSchedule", offsetof(HvGoCalls, check_schedule)},
	{"HvgCheckValue", offsetof(HvGoCalls, check_value)},
	{"HvgCheckText", offsetof(HvGoCalls, check_text)},
	{"HvgGenerate", offsetof(HvGoCalls, generate)},
	{"HvgGenerateRequest", offsetof(HvGoCalls, generate_request)},
	{"HvgUnwrapRequest", offsetof(HvGoCalls, unwrap_request)},
	{"HvgRecordRequest", offsetof(HvGoCalls, record_request)},
	{"HvgRecorded", offsetof(HvGoCalls, recorded)},
	{"HvgSeal", offsetof(HvGoCalls, seal)},
	{"HvgOpen", offsetof(HvGoCalls, open)},
	{"HvgVerify", offsetof(HvGoCalls, verify)},
	{"HvgFault", offsetof(HvGoCalls, fault)},
};

/*
 * Block every asynchronous signal. Go threads inherit the mask they are born under and must never take a signal
 * that PostgreSQL waits for; the synchronous ones stay open, for Go turns them into panics that are recovered.
 */
void
HvEnterGo(sigset_t *saved)
{
	sigset_t	asynchronous;

	sigfillset(&asynchronous);
	sigdelset(&asynchronous, SIGSEGV);
	sigdelset(&asynchronous, SIGBUS);
	sigdelset(&asynchronous, SIGFPE);
	sigdelset(&asynchronous, SIGILL);
	sigdelset(&asynchronous, SIGTRAP);
	sigdelset(&asynchronous, SIGABRT);
	sigprocmask(SIG_SETMASK, &asynchronous, saved);
}

/*
 * Restore the mask of before; also takes back that Go unblocks SIGURG in the thread that called it.
 */
void
HvLeaveGo(const sigset_t *saved)
{
	sigprocmask(SIG_SETMASK, saved, NULL);
}

/*
 * Path of the Go library: beside this one, wherever that was loaded from. Palloc'd in the current context.
 */
static char *
LibraryPath(void)
{
	Dl_info		self;
	char	   *copy;

	if (dladdr((void *) LibraryPath, &self) == 0 || self.dli_fname == NULL)
		elog(ERROR, "could not find the path of " HV_EXTENSION_NAME);
	copy = pstrdup(self.dli_fname);
	return psprintf("%s/%s", dirname(copy), HV_GO_LIBRARY);
}

/*
 * Refuse a library of another border than this shim's. May ereport.
 */
static void
CheckABI(void *handle, const char *path)
{
	int			(*abi) (void) = (int (*) (void)) dlsym(handle, "HvgABI");
	int			version = -1;
	sigset_t	saved;

	if (abi != NULL)
	{
		HvEnterGo(&saved);
		version = abi();
		HvLeaveGo(&saved);
	}
	if (version != HV_ABI_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"%s\" does not belong to the " HV_EXTENSION_NAME " that this server has loaded", path),
				 errdetail("Its interface has number %d, and %d is needed.", version, HV_ABI_VERSION),
				 errhint("The package was upgraded. Restart PostgreSQL on this node.")));
}

/*
 * Open the library and look up its exports. May ereport; a library once opened stays, for Go cannot be unloaded.
 */
static void
LoadLibraryOnce(void)
{
	char	   *path = LibraryPath();
	sigset_t	saved;
	void	   *handle;

	HvEnterGo(&saved);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	HvLeaveGo(&saved);
	if (handle == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not load library \"%s\": %s", path, dlerror()),
				 errhint("Install the extension again on this node: both libraries belong together.")));
	CheckABI(handle, path);
	for (int i = 0; i < lengthof(exports); i++)
	{
		void	   *address = dlsym(handle, exports[i].name);

		if (address == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("library \"%s\" has no function \"%s\"", path, exports[i].name),
					 errhint("Install the extension again on this node: both libraries belong together.")));
		memcpy((char *) &calls + exports[i].offset, &address, sizeof(address));
	}
	pfree(path);
}

/*
 * From the first call on this process holds keys and plaintext: no core file, no ptrace by others of the same user. May
 * ereport.
 */
void
HvForbidDumps(void)
{
	static bool forbidden = false;

	if (forbidden)
		return;
	if (prctl(PR_SET_DUMPABLE, 0) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not turn core dumps off: %m")));
	forbidden = true;
}

/*
 * The exports, opened on first use. May ereport. Never in the postmaster: a child forked from a process in which a
 * Go runtime has started hangs.
 */
const HvGoCalls *
HvGo(void)
{
	if (loaded)
		return &calls;
	if (process_shared_preload_libraries_in_progress || !IsUnderPostmaster)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the Go library of " HV_EXTENSION_NAME " can only be used in a backend of a running server")));

	/*
	 * Loading takes milliseconds, with signals blocked, and tens of them where processors are short: a cancel or a
	 * termination that came before or meanwhile is not to wait for more than that.
	 */
	CHECK_FOR_INTERRUPTS();

	HvForbidDumps();
	LoadLibraryOnce();
	loaded = true;
	CHECK_FOR_INTERRUPTS();
	return &calls;
}

/*
 * Move what Go filled into wipe-on-reset memory of the current context; wipes and frees the original.
 */
HvBytes
HvTakeBuf(HvBuf *buf)
{
	HvBytes		taken = {NULL, buf->len};
	unsigned char *copy = HvSecretAllocNoOom(buf->len);

	if (copy != NULL && buf->len > 0)
		memcpy(copy, buf->data, buf->len);
	if (buf->data != NULL)
	{
		explicit_bzero(buf->data, buf->len);
		free(buf->data);
	}
	*buf = (HvBuf) {NULL, 0};
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	taken.data = copy;
	return taken;
}

/*
 * SQLSTATE of a code of core.Code.
 */
int
HvSqlStateOf(const char *code)
{
	static const struct
	{
		const char *code;
		int			sqlstate;
	}			states[] =
	{
		{"invalid", ERRCODE_INVALID_PARAMETER_VALUE},
		{"too_large", ERRCODE_PROGRAM_LIMIT_EXCEEDED},
		{"unauthenticated", ERRCODE_INSUFFICIENT_PRIVILEGE},
		{"denied", ERRCODE_INSUFFICIENT_PRIVILEGE},
		{"not_found", ERRCODE_UNDEFINED_OBJECT},
		{"exists", ERRCODE_UNIQUE_VIOLATION},
		{"stale", HV_ERRCODE_STALE},
		{"unavailable", ERRCODE_CONNECTION_FAILURE},
		{"corrupt", ERRCODE_DATA_CORRUPTED},
	};

	for (int i = 0; i < lengthof(states); i++)
		if (strcmp(code, states[i].code) == 0)
			return states[i].sqlstate;
	return ERRCODE_INTERNAL_ERROR;
}

/*
 * What to do about an error; NULL where its message says it.
 */
static const char *
HintOf(int sqlstate)
{
	if (sqlstate == ERRCODE_DATA_CORRUPTED)
		return "The stored row is not what was sealed, or its data key is another's. "
			"Restore the row; nothing of it was returned.";
	if (sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return HV_TOO_LONG_HINT;
	return NULL;
}

/*
 * Raise what an export reported.
 */
void
HvThrow(const HvError *failure)
{
	int			sqlstate = HvSqlStateOf(failure->code);
	const char *hint = HintOf(sqlstate);

	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("%s", failure->message),
			 hint == NULL ? 0 : errhint("%s", hint)));
}

PG_FUNCTION_INFO_V1(hv_test_fault);

/*
 * Make Go fail in a chosen way. For tests that declare it themselves, as a superuser; no script of ours does.
 */
Datum
hv_test_fault(PG_FUNCTION_ARGS)
{
	RequireArg(fcinfo, 0, "kind");
	HV_CALL_GO(fault, PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}
