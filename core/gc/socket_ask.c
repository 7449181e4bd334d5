/*
 * One request, dumped answers: a message for each unix socket of the network namespace, with its inode, its peer's, and the length of its queue.
 */
#include "core/gc/socket_ask.h"

#include "core/os/syscall.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

enum { ANSWER_BYTES = 32768, ALL_STATES = -1, STATE_LISTEN = 10 /* TCP_LISTEN */ };

/* Guard: CYCLE. */
static char answer[ANSWER_BYTES] __attribute__((aligned(8)));

/* The first socket that has not a lower inode; `count` if all have. */
static size_t find_place(const struct asked_socket *sockets, size_t count, uint64_t inode)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sockets[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_among(const struct asked_socket *sockets, size_t count, uint64_t inode)
{
	size_t place = find_place(sockets, count, inode);

	return place < count && sockets[place].inode == inode;
}

static void note_told(struct asked_socket *sockets, size_t count, uint64_t inode)
{
	for (size_t i = find_place(sockets, count, inode); i < count && sockets[i].inode == inode;
		i++)
		sockets[i].told = true;
}

static bool send_request(long socket)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} message = {
		.header = {.nlmsg_len = sizeof(message),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.request = {.sdiag_family = AF_UNIX,
			.udiag_states = (uint32_t)ALL_STATES,
			.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN},
	};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return SYSCALL(sendto, socket, &message, sizeof(message), 0, &kernel, sizeof(kernel)) ==
	       (long)sizeof(message);
}

/*
 * One socket: something to read that may be from here? Connections that wait to be accepted have no descriptor yet, and what was sent on them is in none of
 * the queues we are told of.
 */
static bool is_in_flight(const struct nlmsghdr *header, struct asked_socket *sockets, size_t count)
{
	const struct unix_diag_msg *message = (const struct unix_diag_msg *)(header + 1);
	size_t offset = NLMSG_LENGTH(sizeof(*message));
	uint32_t peer = 0, queue = 0;

	if (header->nlmsg_len < offset || !is_among(sockets, count, message->udiag_ino))
		return false;
	note_told(sockets, count, message->udiag_ino);
	for (offset = NLMSG_ALIGN(offset); offset + sizeof(struct nlattr) <= header->nlmsg_len;) {
		const struct nlattr *attribute =
			(const struct nlattr *)((const char *)header + offset);

		if (attribute->nla_len < sizeof(*attribute) ||
			offset + attribute->nla_len > header->nlmsg_len)
			break;
		if (attribute->nla_type == UNIX_DIAG_PEER &&
			attribute->nla_len >= sizeof(*attribute) + sizeof(peer))
			peer = *(const uint32_t *)(attribute + 1);
		if (attribute->nla_type == UNIX_DIAG_RQLEN &&
			attribute->nla_len >= sizeof(*attribute) + sizeof(queue))
			queue = ((const struct unix_diag_rqlen *)(attribute + 1))->udiag_rqueue;
		offset += NLMSG_ALIGN(attribute->nla_len);
	}
	return queue != 0 && (message->udiag_state == STATE_LISTEN || peer == 0 ||
				     is_among(sockets, count, peer));
}

/* Reads answers to the end of the dump. */
static bool read_answers(
	long socket, struct asked_socket *sockets, size_t count, bool *ret_in_flight)
{
	bool in_flight = false;

	for (;;) {
		long got = SYSCALL(recvfrom, socket, answer, sizeof(answer), 0, 0, 0);

		if (got <= 0)
			return false;
		for (size_t offset = 0; offset + sizeof(struct nlmsghdr) <= (size_t)got;) {
			const struct nlmsghdr *header = (const struct nlmsghdr *)(answer + offset);

			if (header->nlmsg_len < sizeof(*header) ||
				offset + header->nlmsg_len > (size_t)got ||
				header->nlmsg_type == NLMSG_ERROR)
				return false;
			if (header->nlmsg_type == NLMSG_DONE) {
				*ret_in_flight = in_flight;
				return true;
			}
			in_flight |= is_in_flight(header, sockets, count);
			offset += NLMSG_ALIGN(header->nlmsg_len);
		}
	}
}

bool sockets_ask(struct asked_socket *sockets, size_t count, bool *ret_in_flight)
{
	long socket = SYSCALL(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	bool done;

	if (syscall_failed(socket))
		return false;
	done = send_request(socket) && read_answers(socket, sockets, count, ret_in_flight);
	SYSCALL(close, socket);
	return done;
}
