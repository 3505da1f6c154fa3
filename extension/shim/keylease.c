/*
 * keylease.c: data keys that the key agent lends to this backend for a while.
 *
 * The keys lie in locked memory that no core dump and no child process has. A key is wiped at the end of its lease, when
 * the agent closes the connection, when newer keys need its place, and at exit. A backend that waits for its client is
 * woken each second for that, as long as it has a key.
 */
#include "hyperion_vault.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "access/xact.h"
#include "agent.h"
#include "common/hashfn.h"
#include "keylease.h"
#include "open.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#define MAX_LEASES		1024
#define MEMORY_LEN		(MAX_LEASES * HV_KEY_LEN)	/* half of what may be locked where the limit is lowest */
#define WATCH_MS		1000

/* what a key is of; the wrapped key tells versions of other lives of the same secret apart */
typedef struct LeaseOf
{
	unsigned char id[HV_ID_LEN];
	int64		version;
	uint64		wrapped;		/* hash of it and of its master key */
} LeaseOf;

typedef struct Lease
{
	LeaseOf		of;
	int			place;
} Lease;

static unsigned char (*keys)[HV_KEY_LEN] = NULL;	/* locked; of each place */
static volatile int64 begins[MAX_LEASES];
static volatile int64 ends[MAX_LEASES]; /* 0 = there is no key; set before the key is there, cleared after it is wiped */
static LeaseOf owners[MAX_LEASES];	/* of each place whose end was ever set */
static HTAB *leases = NULL;		/* of Lease; a key may be wiped already */
static int	next_place = 0;
static int	places = 0;			/* how many were ever used */
static bool unlockable = false;	/* no memory could be locked */
static TimeoutId watch;			/* of Watch */

static volatile sig_atomic_t in_use = false;	/* a key is, and Watch must leave it */
static volatile sig_atomic_t postponed = false; /* Watch found it so */

/*
 * Milliseconds since the machine was started, also while it slept. Safe in a signal handler.
 */
int64
HvLeaseClock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
WipeLease(int place)
{
	explicit_bzero(keys[place], HV_KEY_LEN);
	ends[place] = 0;
}

/*
 * Wipe the keys whose lease has ended, or all of them; whether any is left. Safe in a signal handler.
 */
static bool
WipeEnded(bool all)
{
	int64		now = HvLeaseClock();
	bool		left = false;

	for (int i = 0; i < places; i++)
	{
		if (ends[i] == 0)
			continue;
		if (all || now >= ends[i])
			WipeLease(i);
		else
			left = true;
	}
	return left;
}

/*
 * Wipe what has to be wiped, also while the backend waits for its client. Runs in the handler of SIGALRM.
 */
static void
OnLeaseTimeout(void)
{
	int			save_errno = errno;

	if (in_use)
		postponed = true;
	if (in_use || WipeEnded(!HvAgentIsThere()))
		enable_timeout_after(watch, WATCH_MS);
	errno = save_errno;
}

static void
StartWatch(void)
{
	if (!get_timeout_active(watch))
		enable_timeout_after(watch, WATCH_MS);
}

/*
 * After an error PostgreSQL has stopped all timers.
 */
static void
AtAbort(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
	{
		HvEndLeaseUse();
		if (WipeEnded(false))
			StartWatch();
	}
}

static void
AtExit(int code, Datum arg)
{
	HvDropLeases();
}

/*
 * Make the memory for keys, once; whether there is any. Without memory that can be locked there are no leases.
 */
static bool
PrepareLeases(void)
{
	HASHCTL		control = {.keysize = sizeof(LeaseOf), .entrysize = sizeof(Lease), .hcxt = TopMemoryContext};
	void	   *memory;

	if (keys != NULL || unlockable)
		return !unlockable;
	if (leases == NULL)
	{
		leases = hash_create("hyperion_vault leases", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		watch = RegisterTimeout(USER_TIMEOUT, OnLeaseTimeout);
		RegisterXactCallback(AtAbort, NULL);
		on_proc_exit(AtExit, (Datum) 0);
	}
	memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unlockable = memory == MAP_FAILED;
	if (!unlockable && (mlock(memory, MEMORY_LEN) != 0 || madvise(memory, MEMORY_LEN, MADV_DONTDUMP) != 0 ||
						madvise(memory, MEMORY_LEN, MADV_DONTFORK) != 0))
	{
		unlockable = true;
		munmap(memory, MEMORY_LEN);
	}
	if (unlockable)
		ereport(DEBUG1, (errmsg_internal("no memory can be locked: data keys are not leased")));
	else
		keys = memory;
	return !unlockable;
}

/*
 * Whether this backend may keep data keys.
 */
bool
HvCanLease(void)
{
	return HvKeyLeaseSecs > 0 && PrepareLeases();
}

static LeaseOf
OwnerOf(const HvBinding *binding, const HvStored *stored)
{
	LeaseOf		of;

	memset(&of, 0, sizeof(of));
	memcpy(of.id, binding->id.data, HV_ID_LEN);
	of.version = stored->version;
	of.wrapped = hash_bytes_extended(stored->wrapped.data, (int) stored->wrapped.len,
									 hash_bytes_extended(stored->key_id.data, (int) stored->key_id.len, 0));
	return of;
}

/*
 * The leased key of a version, NULL if there is none. HvEndLeaseUse() has to follow.
 */
const unsigned char *
HvUseLease(const HvBinding *binding, const HvStored *stored)
{
	LeaseOf		of;
	Lease	   *lease;
	int64		now;

	if (places == 0)
		return NULL;
	in_use = true;
	pg_compiler_barrier();
	of = OwnerOf(binding, stored);
	lease = hash_search(leases, &of, HASH_FIND, NULL);
	if (lease == NULL || ends[lease->place] == 0)
		return NULL;
	now = HvLeaseClock();
	if (now >= ends[lease->place] || now - begins[lease->place] >= (int64) HvKeyLeaseSecs * 1000)
	{
		WipeLease(lease->place);
		return NULL;
	}
	if (HvAgentLends())
		return keys[lease->place];
	HvAgentDisconnect();
	return NULL;
}

/*
 * Let the watch have the keys again.
 */
void
HvEndLeaseUse(void)
{
	in_use = false;
	pg_compiler_barrier();
	if (postponed)
	{
		postponed = false;
		(void) WipeEnded(!HvAgentIsThere());
	}
}

/*
 * Keep a key for so many milliseconds after a time.
 */
void
HvKeepLease(const HvBinding *binding, const HvStored *stored, const unsigned char *key, int64 from, uint64 ms)
{
	LeaseOf		of = OwnerOf(binding, stored);
	bool		known;
	Lease	   *lease = hash_search(leases, &of, HASH_ENTER, &known);

	if (!known)
	{
		lease->place = next_place;
		next_place = (next_place + 1) % MAX_LEASES;
		if (lease->place < places)
			(void) hash_search(leases, &owners[lease->place], HASH_REMOVE, NULL);
		owners[lease->place] = of;
		places = Max(places, lease->place + 1);
	}
	in_use = true;
	pg_compiler_barrier();
	begins[lease->place] = from;
	ends[lease->place] = from + (int64) ms;
	memcpy(keys[lease->place], key, HV_KEY_LEN);
	HvEndLeaseUse();
	StartWatch();
}

/*
 * Wipe all keys, and close the file that their reads are recorded in.
 */
void
HvDropLeases(void)
{
	if (keys != NULL)
		(void) WipeEnded(true);
	HvCloseLeasedFile();
}
