/*
 * Unread bytes between two unix sockets of this process, asked of the kernel by netlink (sock_diag): it needs no privilege, and not the descriptors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A socket of the program, of whatever kind. */
struct asked_socket {
	uint64_t inode;
	int fd;    // the caller's
	bool told; // output: it is a unix socket that the kernel told of
};

/*
 * `sockets` are those of the program, by ascending inode; one may stand there several times. *ret_in_flight: bytes wait in one whose other end is also among
 * them, was closed, or may be anybody's (a bound datagram socket), or a connection waits to be accepted. What is not told of is no unix socket, or one of
 * another network namespace. False: the kernel does not tell (no netlink, no unix_diag, another answer than expected).
 */
bool sockets_ask(struct asked_socket *sockets, size_t count, bool *ret_in_flight);
