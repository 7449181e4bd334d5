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

/*
 * The block that `pointer` points into (any address of it) is no leak, nor is what it holds, until it is freed or reallocated. Nothing if it is no block in use,
 * or there is no collector (mode=fast). Any thread.
 */
GASKET_API void gasket_ignore(const void *pointer);

/* Looks for leaks and returns the number of leaked blocks, those taken back included; nothing is reported. 0 without a collector. Not from a signal handler. */
GASKET_API size_t gasket_leak_check(void);

/*
 * The range counts as memory in which the program keeps pointers, whatever it is, as long as it is mapped and until it is removed with the same arguments. 1: done;
 * 0: no memory, no collector, or (remove) there was no such range. Any thread.
 */
GASKET_API int gasket_add_root(const void *start, size_t bytes);
GASKET_API int gasket_remove_root(const void *start, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
