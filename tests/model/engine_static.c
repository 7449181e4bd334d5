/*
 * The model's engine is libgasket_core.a, linked into the program: the C library's malloc is another one, and nothing is wrapped. A thread of the test
 * plays the collector; its stack is ours and no root, as the library's collector has it.
 *
 * GASKET_OPTIONS counts here too, on top of what the model needs.
 */
#include "tests/model/engine.h"
#include "tests/harness/test.h"

#include "core/alloc/alloc.h"
#include "core/base/atomic.h"
#include "core/base/option.h"
#include "core/gc/collector.h"
#include "core/gc/cycle.h"
#include "core/gc/roots.h"
#include "core/gc/thread.h"
#include "core/heap/heap.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/os/memory.h"
#include "core/os/proc.h"
#include "scanners/scanners.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK_BYTES = 1 << 20 };

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t wanted;
	pthread_cond_t done;
	uint64_t requests; // collections asked for
	uint64_t cycles;   // and made
	bool has_verdict;
	bool waits; // makes none unasked
} collector = {.mutex = PTHREAD_MUTEX_INITIALIZER,
	.wanted = PTHREAD_COND_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER};

static void complain(const char *message)
{
	test_fail(__FILE__, __LINE__, "%s", message);
}

void alloc_start_hook(void)
{
	static const char defaults[] = "probation=off:scribble=1:collector=stw:quarantine_bytes=1g";
	const char *text = getenv("GASKET_OPTIONS");

	log_init();
	options_reset();
	options_parse(defaults, sizeof(defaults) - 1, complain);
	if (text)
		options_parse(text, strlen(text), complain);
}

/* ---- the world, with TSan (linked with --wrap, see meson.build) ---- */

#if defined(__SANITIZE_THREAD__) || defined(MODEL_LOCKED_WORLD)
static pthread_rwlock_t world_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

bool __wrap_world_prepare(void);
bool __wrap_world_stop(uint64_t timeout_ns, bool may_count);
uint64_t __wrap_world_stopping_ns(void);
bool __wrap_world_commit(void);
void __wrap_world_start(void);

bool __wrap_world_prepare(void)
{
	return true;
}

uint64_t __wrap_world_stopping_ns(void)
{
	return clock_now_ns();
}

bool __wrap_world_stop(uint64_t timeout_ns, bool may_count)
{
	(void)timeout_ns;
	(void)may_count;
	return pthread_rwlock_wrlock(&world_lock) == 0;
}

bool __wrap_world_commit(void)
{
	return true;
}

void __wrap_world_start(void)
{
	pthread_rwlock_unlock(&world_lock);
}

void engine_enter(void)
{
	pthread_rwlock_rdlock(&world_lock);
}

void engine_leave(void)
{
	pthread_rwlock_unlock(&world_lock);
}
#else
void engine_enter(void)
{
}

void engine_leave(void)
{
}
#endif

/* ---- the rest ---- */

static bool stack_bounds(struct thread *thread)
{
	pthread_attr_t attributes;
	void *low;
	size_t bytes;

	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return false;
	pthread_attr_getstack(&attributes, &low, &bytes);
	pthread_attr_destroy(&attributes);
	thread->stack_low = (uintptr_t)low;
	thread->stack_high = (uintptr_t)low + bytes;
	thread->is_own_stack = true;
	return true;
}

static void wait_for_request(uint64_t cycles)
{
	struct timespec until;
	long pause_ns = (long)(options.interval_ms ? options.interval_ms : 20) * 1000000;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += pause_ns;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&collector.mutex);
	while (collector.waits && collector.requests <= cycles)
		pthread_cond_wait(&collector.wanted, &collector.mutex);
	if (collector.requests <= cycles)
		pthread_cond_timedwait(&collector.wanted, &collector.mutex, &until);
	pthread_mutex_unlock(&collector.mutex);
}

static void *collect_for_ever(void *stack)
{
	char *frame = __builtin_frame_address(0);

	os_own_add((uintptr_t)stack, (size_t)(frame - (char *)stack));
	CHECK(proc_open());
	for (uint64_t cycles = 0;; cycles++) {
		bool has_verdict;

		wait_for_request(cycles);
		has_verdict = cycle_collect();
		pthread_mutex_lock(&collector.mutex);
		collector.cycles = cycles + 1;
		if (collector.requests < collector.cycles)
			collector.requests = collector.cycles;
		collector.has_verdict = has_verdict;
		pthread_cond_broadcast(&collector.done);
		pthread_mutex_unlock(&collector.mutex);
	}
	return 0;
}

void engine_start(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	void *stack =
		mmap(0, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK_NE(stack, MAP_FAILED);
	thread_hooks.stack_bounds = stack_bounds;
	CHECK(alloc_init());
	roots_register(scanners, SCANNER_COUNT);
	thread_attach();
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stack, STACK_BYTES);
	CHECK_EQ(pthread_create(&thread, &attributes, collect_for_ever, stack), 0);
	pthread_attr_destroy(&attributes);
}

void engine_stop(void)
{
	pthread_mutex_lock(&collector.mutex);
	collector.waits = true;
	pthread_mutex_unlock(&collector.mutex);
	engine_collect();
}

void engine_thread_begin(void)
{
	thread_attach();
}

void engine_thread_end(void)
{
	thread_detach();
}

void *engine_malloc(size_t bytes)
{
	return alloc_malloc(bytes);
}

void *engine_calloc(size_t bytes)
{
	return alloc_zeroed(bytes);
}

void *engine_aligned(size_t alignment, size_t bytes)
{
	return alloc_aligned(alignment, bytes);
}

void *engine_realloc(void *block, size_t bytes)
{
	return alloc_realloc(block, bytes);
}

void engine_free(void *block)
{
	alloc_free(block);
}

size_t engine_usable(void *block)
{
	return alloc_usable_size(block);
}

/* The second cycle from now began after this call. */
bool engine_collect(void)
{
	bool has_verdict;
	uint64_t wanted;

	pthread_mutex_lock(&collector.mutex);
	wanted = collector.cycles + 2;
	if (collector.requests < wanted)
		collector.requests = wanted;
	pthread_cond_signal(&collector.wanted);
	while (collector.cycles < wanted)
		pthread_cond_wait(&collector.done, &collector.mutex);
	has_verdict = collector.has_verdict;
	pthread_mutex_unlock(&collector.mutex);
	return has_verdict;
}

int engine_state(const void *block)
{
	struct slot slot;

	return heap_find_block((uintptr_t)block, &slot) ? load_relaxed(slot_state(slot)) : -1;
}

bool engine_reclaims_leaks(void)
{
	return options.leaks == LEAKS_RECLAIM && options.probation == SWITCH_OFF;
}

bool engine_keeps_freed(void)
{
	return options.free == FREE_HINT;
}
