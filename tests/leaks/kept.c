/*
 * What looks like a leak to some tools and is none: the block can still be reached, from where one has to look.
 */
#include "tests/leaks/shape.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

KEEP static void *block_create(void)
{
	return calloc(1, 256);
}

/* ---- grows for ever, but everything in it can be asked for ---- */

struct cached {
	struct cached *next;
	char *value;
};

static struct cached *cache;

KEEP static void cache_without_limit(bool fixed)
{
	use(&fixed);
	TIMES(200)
	{
		struct cached *entry = calloc(1, sizeof(*entry));

		entry->value = malloc(500);
		entry->next = cache;
		cache = entry;
	}
}

static char *interned[64];

KEEP static const char *intern(int number)
{
	char text[32];

	snprintf(text, sizeof(text), "symbol %d", number);
	if (!interned[number % 64])
		interned[number % 64] = strdup(text);
	return interned[number % 64];
}

KEEP static void interned_strings(bool fixed)
{
	use(&fixed);
	TIMES(200)
	use(intern(turn));
}

/* Made once, at the first call, and never freed. */
KEEP static void *singleton(void)
{
	static void *only;

	if (!only)
		only = block_create();
	return only;
}

KEEP static void made_once(bool fixed)
{
	use(&fixed);
	TIMES(10)
	use(singleton());
}

/* ---- pointers that are not the block's address ---- */

struct link {
	struct link *next, *previous;
};

struct member {
	char name[64];
	struct link link; // lists name this, not the block
};

static struct link members = {&members, &members};

KEEP static void members_by_inner_link(bool fixed)
{
	use(&fixed);
	TIMES(20)
	{
		struct member *member = calloc(1, sizeof(*member));

		member->link.next = members.next;
		member->link.previous = &members;
		members.next->previous = &member->link;
		members.next = &member->link;
	}
}

static uintptr_t tagged[10];

KEEP static void pointers_with_tags(bool fixed)
{
	use(&fixed);
	for (volatile int i = 0; i < 10; i = i + 1)
		tagged[i] = (uintptr_t)block_create() | (uintptr_t)(1 + i % 7);
	use(tagged);
}

static char *behind_header;

KEEP static void behind_a_header(bool fixed)
{
	use(&fixed);
	behind_header = (char *)block_create() + 64;
	use(&behind_header);
}

/* ---- places other than variables ---- */

static __thread void *of_this_thread;
static sem_t holder_is_there;

static void *hold_and_wait(void *argument)
{
	void *volatile on_stack[2] = {block_create(), argument};

	of_this_thread = block_create();
	use(&of_this_thread);
	sem_post(&holder_is_there);
	for (;;)
		pause();
	use((void *)&on_stack);
	return NULL;
}

KEEP static void held_by_running_thread(bool fixed)
{
	pthread_t thread;

	use(&fixed);
	sem_init(&holder_is_there, 0, 0);
	if (pthread_create(&thread, NULL, hold_and_wait, NULL) != 0)
		abort();
	pthread_detach(thread);
	sem_wait(&holder_is_there);
}

static pthread_key_t kept_key;

static void *hold_by_key_and_wait(void *argument)
{
	pthread_setspecific(kept_key, block_create());
	sem_post(&holder_is_there);
	for (;;)
		pause();
	return argument;
}

KEEP static void held_by_key_of_running_thread(bool fixed)
{
	pthread_t thread;

	use(&fixed);
	sem_init(&holder_is_there, 0, 0);
	if (pthread_key_create(&kept_key, free) != 0 ||
		pthread_create(&thread, NULL, hold_by_key_and_wait, NULL) != 0)
		abort();
	pthread_detach(thread);
	sem_wait(&holder_is_there);
}

KEEP static void held_by_a_mapping(bool fixed)
{
	void **page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	use(&fixed);
	if (page == MAP_FAILED)
		abort();
	page[5] = block_create();
	use(page);
}

KEEP static void held_by_epoll(bool fixed)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2];

	use(&fixed);
	if (epoll < 0 || pipe(ends) != 0)
		abort();
	event.data.ptr = block_create();
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0)
		abort();
	memset(&event, 0, sizeof(event));
	use(&event);
}

KEEP static void held_by_a_timer(bool fixed)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec later = {.it_value = {.tv_sec = 3600}};
	timer_t timer;

	use(&fixed);
	event.sigev_value.sival_ptr = block_create();
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
		timer_settime(timer, 0, &later, NULL) != 0)
		abort();
	memset(&event, 0, sizeof(event));
	use(&event);
}

/* ---- libc has them ---- */

KEEP static void put_into_environment(bool fixed)
{
	char *text = malloc(64);

	use(&fixed);
	snprintf(text, 64, "SHAPES_KEPT=%d", 1);
	putenv(text);
}

KEEP static void stream_never_closed(bool fixed)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[80];

	use(&fixed);
	use(file ? fgets(line, sizeof(line), file) : NULL);
}

static void free_at_exit(int status, void *block)
{
	use(&status);
	free(block);
}

KEEP static void argument_of_exit_function(bool fixed)
{
	use(&fixed);
	on_exit(free_at_exit, block_create());
}

static void *end_at_once(void *argument)
{
	return argument;
}

/* Its stack and what libc has for it are still there for who might join. */
KEEP static void thread_never_joined(bool fixed)
{
	pthread_t thread;

	use(&fixed);
	if (pthread_create(&thread, NULL, end_at_once, NULL) != 0)
		abort();
	usleep(5000);
}

#define KEPT(name) \
	{ \
#name, name, NULL, {0, 0 }, {0, 0 }, "own" \
	}

const struct shape kept_shapes[] = {
	KEPT(cache_without_limit),
	KEPT(interned_strings),
	KEPT(made_once),
	KEPT(members_by_inner_link),
	KEPT(pointers_with_tags),
	KEPT(behind_a_header),
	KEPT(held_by_running_thread),
	KEPT(held_by_key_of_running_thread),
	KEPT(held_by_a_mapping),
	KEPT(held_by_epoll),
	KEPT(held_by_a_timer),
	KEPT(put_into_environment),
	KEPT(stream_never_closed),
	KEPT(argument_of_exit_function),
	{"thread_never_joined", thread_never_joined, NULL, {0, 0}, {0, 0},
		SHAPE_LINK("opdenkamp/xbmc-pvr-addons/pull/435")},
	{0},
};
