/*
 * Unread bytes between two unix sockets of this process, asked of the kernel by netlink (sock_diag): it needs no privilege, and not the descriptors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * `inodes` are those of the program's sockets of all kinds, ascending. *ret_in_flight: bytes wait in one whose other end is also among them.
 * False: the kernel does not tell (no netlink, no unix_diag, another answer than expected).
 */
bool sockets_ask(const uint64_t *inodes, size_t count, bool *ret_in_flight);
