/*
 * One request, dumped answers: a message for each unix socket of the network namespace, with its inode, its peer's, and the length of its queue.
 */
#include "core/gc/socket_ask.h"

#include "core/os/syscall.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

enum { ANSWER_BYTES = 32768, ALL_STATES = -1 };

/* Guard: CYCLE. */
static char answer[ANSWER_BYTES] __attribute__((aligned(8)));

static bool is_among(const uint64_t *inodes, size_t count, uint64_t inode)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (inodes[middle] == inode)
			return true;
		if (inodes[middle] < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool send_request(long socket)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} message = {
		.header = { .nlmsg_len = sizeof(message), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .sdiag_family = AF_UNIX, .udiag_states = (uint32_t)ALL_STATES, .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN },
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return SYSCALL(sendto, socket, &message, sizeof(message), 0, &kernel, sizeof(kernel)) == (long)sizeof(message);
}

/* One socket: both ends here, and something to read? */
static bool is_in_flight(const struct nlmsghdr *header, const uint64_t *inodes, size_t count)
{
	const struct unix_diag_msg *message = (const struct unix_diag_msg *)(header + 1);
	size_t offset = NLMSG_LENGTH(sizeof(*message));
	uint32_t peer = 0, queue = 0;

	if (header->nlmsg_len < offset || !is_among(inodes, count, message->udiag_ino))
		return false;
	for (offset = NLMSG_ALIGN(offset); offset + sizeof(struct nlattr) <= header->nlmsg_len;) {
		const struct nlattr *attribute = (const struct nlattr *)((const char *)header + offset);

		if (attribute->nla_len < sizeof(*attribute) || offset + attribute->nla_len > header->nlmsg_len)
			break;
		if (attribute->nla_type == UNIX_DIAG_PEER && attribute->nla_len >= sizeof(*attribute) + sizeof(peer))
			peer = *(const uint32_t *)(attribute + 1);
		if (attribute->nla_type == UNIX_DIAG_RQLEN && attribute->nla_len >= sizeof(*attribute) + sizeof(queue))
			queue = ((const struct unix_diag_rqlen *)(attribute + 1))->udiag_rqueue;
		offset += NLMSG_ALIGN(attribute->nla_len);
	}
	return peer != 0 && queue != 0 && is_among(inodes, count, peer);
}

/* Reads answers to the end of the dump. */
static bool read_answers(long socket, const uint64_t *inodes, size_t count, bool *ret_in_flight)
{
	bool in_flight = false;

	for (;;) {
		long got = SYSCALL(recvfrom, socket, answer, sizeof(answer), 0, 0, 0);

		if (got <= 0)
			return false;
		for (size_t offset = 0; offset + sizeof(struct nlmsghdr) <= (size_t)got;) {
			const struct nlmsghdr *header = (const struct nlmsghdr *)(answer + offset);

			if (header->nlmsg_len < sizeof(*header) || offset + header->nlmsg_len > (size_t)got || header->nlmsg_type == NLMSG_ERROR)
				return false;
			if (header->nlmsg_type == NLMSG_DONE) {
				*ret_in_flight = in_flight;
				return true;
			}
			in_flight |= is_in_flight(header, inodes, count);
			offset += NLMSG_ALIGN(header->nlmsg_len);
		}
	}
}

bool sockets_ask(const uint64_t *inodes, size_t count, bool *ret_in_flight)
{
	long socket = SYSCALL(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	bool done;

	if (syscall_failed(socket))
		return false;
	done = send_request(socket) && read_answers(socket, inodes, count, ret_in_flight);
	SYSCALL(close, socket);
	return done;
}
