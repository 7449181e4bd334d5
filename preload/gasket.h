/*
 * Optional interface of Gasket, callable with or without the library: declare the functions weak (this header does) and test the address.
 *
 *	#include <gasket.h>
 *	if (gasket_collect)
 *		gasket_collect();
 */
#ifndef GASKET_H
#define GASKET_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef GASKET_API
#define GASKET_API __attribute__((weak))
#endif

/* Runs one full collection and waits for its end. Returns 1 if it gave a verdict, else 0. Not from a signal handler. */
GASKET_API int gasket_collect(void);

/* State of the block whose first byte is at `block`: 0 free, 1 allocated, 2 freed and not yet proved unreachable, 3 on probation (never freed, not reached),
 * 4 allocated with a stack record, 5 free in a thread's cache; -1: no block of Gasket's. Any thread. */
GASKET_API int gasket_block_state(const void *block);

#ifdef __cplusplus
}
#endif
#endif
