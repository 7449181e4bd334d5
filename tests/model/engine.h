/*
 * The allocator under test, as the model sees it. Two implementations: the preloaded library through libc's names, and libgasket_core.a through
 * alloc_*(), which can be built with ASan and TSan.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Starts the collector, if that is not the library's own business. Before other threads exist. */
void engine_start(void);

/* From now on cycles run only when asked for. */
void engine_stop(void);

/* Around the body of each thread but main. */
void engine_thread_begin(void);
void engine_thread_end(void);

/*
 * Around each step of a thread. With TSan the world is stopped by a lock between steps: a signal may find the sanitizer's run-time library in any state,
 * where instrumented code must not run, and it would not know that the collector's reads come after the threads' writes.
 */
void engine_enter(void);
void engine_leave(void);

void *engine_malloc(size_t bytes);
void *engine_calloc(size_t bytes);
void *engine_aligned(size_t alignment, size_t bytes);
void *engine_realloc(void *block, size_t bytes);
void engine_free(void *block);
size_t engine_usable(void *block);

/* One full cycle. True: it gave a verdict. */
bool engine_collect(void);

/* State byte of the block that begins at this address (enum slot_state), -1: no block begins there. */
int engine_state(const void *block);

/* False: nothing that was not freed is ever taken back with these options. */
bool engine_reclaims_leaks(void);

/* False: freed memory is used again at once, so nothing can be said about its contents. */
bool engine_keeps_freed(void);
