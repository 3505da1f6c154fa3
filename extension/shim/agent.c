/*
 * agent.c: the conversation with the key agent of hyperion-vault-api, over a unix socket.
 *
 * C waits, never Go: on a non-blocking socket and the latch, so that cancel, statement_timeout and shutdown work
 * meanwhile. One connection per backend is kept between calls. A frame is a 32-bit big-endian length and a body,
 * which only Go reads (core/frame).
 */
#include "hyperion_vault.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "agent.h"
#include "keylease.h"
#include "secretmem.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define CONNECT_RETRY_MS	10	/* between tries while the agent's backlog is full */
#define USUAL_LEN			512 /* of an answer with its length, at most */

static pgsocket agent_sock = PGINVALID_SOCKET;
static char agent_path[sizeof(((struct sockaddr_un *) 0)->sun_path)];	/* what agent_sock is connected to */
static bool midway = false;		/* a request was sent whose answer was not read whole */
static WaitEventSet *waits = NULL;	/* latch, postmaster, agent_sock; kept as long as the connection */
static int	sock_position;		/* of agent_sock in it */
static int	descriptor = -1;	/* that came with the last answer */

/*
 * Close what came with an answer and was not taken.
 */
static void
DropDescriptor(void)
{
	if (descriptor >= 0)
		close(descriptor);
	descriptor = -1;
}

/*
 * Close the connection, and wipe the keys that it lent.
 */
static void
CloseConnection(void)
{
	HvDropLeases();
	DropDescriptor();
	if (agent_sock == PGINVALID_SOCKET)
		return;
	if (waits != NULL)
		FreeWaitEventSet(waits);
	waits = NULL;
	closesocket(agent_sock);
	ReleaseExternalFD();
	agent_sock = PGINVALID_SOCKET;
	midway = false;
}

/*
 * Make what waits for the connection: to make it again for each wait, as WaitLatchOrSocket() does, takes six system calls.
 * May ereport.
 */
static void
PrepareWaitSet(void)
{
	if (waits != NULL)
		return;
#if PG_VERSION_NUM >= 170000
	waits = CreateWaitEventSet(NULL, 3);
#else
	waits = CreateWaitEventSet(TopMemoryContext, 3);
#endif
	AddWaitEventToSet(waits, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(waits, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	sock_position = AddWaitEventToSet(waits, WL_SOCKET_READABLE, agent_sock, NULL, NULL);
}

/*
 * Wait for events of the connection, or ms milliseconds; the events that happened.
 */
static int
WaitForSocket(uint32 events, long ms)
{
	WaitEvent	happened;

	PrepareWaitSet();
	ModifyWaitEvent(waits, sock_position, events, NULL);
	if (WaitEventSetWait(waits, ms, &happened, 1, PG_WAIT_EXTENSION) < 1)
		return 0;
	return happened.events;
}

/*
 * Wait for socket events, or with none of them for ms milliseconds, until the deadline. May ereport: interrupts,
 * and the deadline.
 */
static void
WaitForAgent(uint32 events, long ms, TimestampTz deadline)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
	int			happened;

	if (left <= 0)
	{
		CloseConnection();
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the key agent did not answer within %d ms", HvAgentTimeoutMs),
				 errhint("Read the log of hyperion-vault-api on this node, or raise hyperion_vault.agent_timeout_ms.")));
	}
	if (events == 0)
		happened = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(ms, left),
							 PG_WAIT_EXTENSION);
	else
		happened = WaitForSocket(events, left);
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
ConnectToAgent(TimestampTz deadline)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strlcpy(address.sun_path, HvAgentSocket, sizeof(address.sun_path));
	strlcpy(agent_path, HvAgentSocket, sizeof(agent_path));
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no file descriptor is left for the key agent"),
				 errhint("Raise max_files_per_process.")));
	agent_sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (agent_sock == PGINVALID_SOCKET)
	{
		int			save_errno = errno;

		ReleaseExternalFD();
		errno = save_errno;
		ereport(ERROR, (errcode_for_socket_access(), errmsg("could not create a socket: %m")));
	}
	while (connect(agent_sock, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		int			save_errno = errno;

		if (save_errno == EINTR)
			continue;
		if (save_errno == EAGAIN)	/* backlog full: a unix socket does not queue further */
		{
			WaitForAgent(0, CONNECT_RETRY_MS, deadline);
			continue;
		}
		CloseConnection();
		errno = save_errno;
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to the key agent: %m"),
				 errhint("Is hyperion-vault-api running on this node, and hyperion_vault.agent_socket its socket?")));
	}
}

/*
 * Send all of it; false when the agent closed the connection.
 */
static bool
SendRequest(HvBytes request, TimestampTz deadline)
{
	size_t		sent = 0;

	while (sent < request.len)
	{
		ssize_t		n = send(agent_sock, request.data + sent, request.len - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += n;
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			WaitForAgent(WL_SOCKET_WRITEABLE, 0, deadline);
		else if (n < 0 && errno == EINTR)
			CHECK_FOR_INTERRUPTS();
		else
			return false;
	}
	return true;
}

/*
 * recv(), with the descriptor that may come along.
 */
static ssize_t
ReceiveSome(unsigned char *to, size_t len)
{
	union
	{
		struct cmsghdr align;
		char		space[CMSG_SPACE(sizeof(int))];
	}			control;
	struct iovec part = {.iov_base = to, .iov_len = len};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)
	};
	ssize_t		n = recvmsg(agent_sock, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *with = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (with != NULL && with->cmsg_level == SOL_SOCKET && with->cmsg_type == SCM_RIGHTS &&
		with->cmsg_len == CMSG_LEN(sizeof(int)))
	{
		DropDescriptor();
		memcpy(&descriptor, CMSG_DATA(with), sizeof(int));
	}
	return n;
}

/*
 * Receive until there are at least so many bytes, of which some may be there already. Returns how many there are, and 0 when the
 * agent closed the connection before.
 */
static size_t
ReceiveUntil(unsigned char *to, size_t have, size_t least, size_t most, TimestampTz deadline)
{
	while (have < least)
	{
		ssize_t		n = ReceiveSome(to + have, most - have);

		if (n > 0)
			have += n;
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			WaitForAgent(WL_SOCKET_READABLE, 0, deadline);
		else if (n < 0 && errno == EINTR)
			CHECK_FOR_INTERRUPTS();
		else
			return 0;
	}
	return have;
}

static void
CheckLength(size_t len)
{
	if (len > 0 && len <= HV_MAX_FRAME_LEN)
		return;
	CloseConnection();
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the key agent sent a frame of an impossible length"),
			 errhint("Is hyperion_vault.agent_socket the socket of hyperion-vault-api?")));
}

/*
 * Take the length off bytes that were received. The body may be longer than what has come, and than its memory.
 */
static size_t
TakeLength(unsigned char *received, size_t have, HvBytes *body)
{
	uint32		header;
	unsigned char *data = received;

	memcpy(&header, received, sizeof(header));
	body->len = pg_ntoh32(header);
	CheckLength(body->len);
	have -= sizeof(header);
	if (body->len > USUAL_LEN - sizeof(header))
		data = HvSecretAlloc(body->len);
	memmove(data, received + sizeof(header), have);
	if (data != received)
		HvSecretWipe(received);
	body->data = data;
	return have;
}

/*
 * One question, one answer over the open connection; false when the agent closed it. A usual answer takes one wait and is
 * received at once.
 */
static bool
ExchangeMessages(HvBytes request, HvBytes *body, TimestampTz deadline)
{
	unsigned char *received;
	size_t		have;

	midway = true;
	if (!SendRequest(request, deadline))
		return false;
	WaitForAgent(WL_SOCKET_READABLE, 0, deadline);
	received = HvSecretAlloc(USUAL_LEN);
	have = ReceiveUntil(received, 0, sizeof(uint32), USUAL_LEN, deadline);
	if (have == 0)
		return false;
	have = TakeLength(received, have, body);
	have = ReceiveUntil((unsigned char *) body->data, have, body->len, body->len, deadline);
	if (have == 0)
		return false;
	midway = false;
	if (have > body->len)		/* it was not asked for more */
		CloseConnection();
	return true;
}

/*
 * Whether the kept connection is open and silent, as it has to be between two questions: bytes that lie there were
 * not asked for, and would be read as the next answer.
 */
static bool
IsSilent(void)
{
	char		unasked;

	return recv(agent_sock, &unasked, 1, MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/*
 * The descriptor that came with the last answer, which is the caller's to close; -1 when none did.
 */
int
HvAgentTakeDescriptor(void)
{
	int			taken = descriptor;

	descriptor = -1;
	return taken;
}

/*
 * Whether the agent still has the connection, as far as can be said while a conversation may be under way. Safe in a signal
 * handler.
 */
bool
HvAgentIsThere(void)
{
	return agent_sock != PGINVALID_SOCKET && (midway || IsSilent());
}

/*
 * Whether the connection may be used: it is whole and silent, and to the agent that is set.
 */
static bool
IsUsable(void)
{
	/* An earlier call may have left by an error in the middle; its answer must not become ours. */
	return !midway && strcmp(agent_path, HvAgentSocket) == 0 && IsSilent();
}

/*
 * Whether the keys that came over the connection may still be used.
 */
bool
HvAgentLends(void)
{
	return agent_sock != PGINVALID_SOCKET && IsUsable();
}

/*
 * Close the connection, and wipe the keys that it lent.
 */
void
HvAgentDisconnect(void)
{
	CloseConnection();
}

/*
 * Send a framed request and return the body of the answer, in wipe-on-reset memory of the current context. May
 * ereport. A kept connection that the agent has closed meanwhile (it was restarted) is opened again, once.
 */
HvBytes
HvAgentExchange(HvBytes request)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HvAgentTimeoutMs);
	HvBytes		body = {NULL, 0};

	if (agent_sock != PGINVALID_SOCKET && !IsUsable())
		CloseConnection();
	for (;;)
	{
		bool		kept = agent_sock != PGINVALID_SOCKET;

		if (!kept)
			ConnectToAgent(deadline);
		if (ExchangeMessages(request, &body, deadline))
			return body;
		CloseConnection();
		if (!kept)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the key agent closed the connection"),
					 errhint("It serves only the OS users in VAULT_AGENT_PEERS; the log of hyperion-vault-api has more.")));
	}
}
