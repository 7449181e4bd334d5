/*
 * Must live: the kernel alone has the address, and will give it back.
 */
#include "tests/gc/hidden.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- epoll ---- */

static NOINLINE int epoll_set(int epoll, int operation, int watched, uintptr_t hidden)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = reveal(hidden)};
	int result = epoll_ctl(epoll, operation, watched, &event);

	event.data.ptr = NULL;
	__asm__ volatile("" : : "r"(&event) : "memory");
	return result;
}

static NOINLINE bool epoll_gives(int epoll, uintptr_t hidden)
{
	struct epoll_event event = {0};

	return epoll_wait(epoll, &event, 1, 1000) == 1 && event.data.ptr == reveal(hidden);
}

ROOT_TEST(epoll_data, "kernel_held")
{
	uintptr_t hidden = hide_block(64);
	int ends[2], epoll = epoll_create1(0);

	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_ADD, ends[0], hidden), 0);
	collect();
	if (!is_kept(hidden))
		return false;
	CHECK_EQ(write(ends[1], "x", 1), 1);
	return epoll_gives(epoll, hidden);
}

ROOT_TEST(epoll_data_that_was_modified, "kernel_held")
{
	uintptr_t first = hide_block(64), second = hide_block(64);
	int ends[2], epoll = epoll_create1(0);

	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_ADD, ends[0], first), 0);
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_MOD, ends[0], second), 0);
	// these fail and change nothing
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_ADD, ends[0], first), -1);
	CHECK_EQ(errno, EEXIST);
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_DEL, ends[1], second), -1);
	collect();
	CHECK(!is_kept(first));
	return is_kept(second);
}

TEST(epoll_data_dies_with_its_registration)
{
	uintptr_t hidden = hide_block(64);
	int ends[2], epoll = epoll_create1(0);

	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(epoll_set(epoll, EPOLL_CTL_ADD, ends[0], hidden), 0);
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL), 0);
	collect();
	CHECK(!is_kept(hidden));
}

/* Half of the watched descriptors are closed, and nobody tells epoll. */
TEST(epoll_data_dies_with_its_descriptor_and_not_before)
{
	enum { COUNT = 400 };
	static uintptr_t hidden[COUNT];
	static int ends[COUNT][2];
	int epoll = epoll_create1(0), lost = 0;

	for (int i = 0; i < COUNT; i++) {
		hidden[i] = hide_block_dirty(64);
		CHECK_EQ(pipe(ends[i]), 0);
		CHECK_EQ(epoll_set(epoll, EPOLL_CTL_ADD, ends[i][0], hidden[i]), 0);
	}
	for (int i = 0; i < COUNT; i += 2) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
	for (int i = 0; i < 20; i++)
		collect();
	for (int i = 0; i < COUNT; i += 2)
		lost += !is_kept(hidden[i]);
	for (int i = 1; i < COUNT; i += 2)
		CHECK(is_kept(hidden[i]));
	CHECK_GT(lost, COUNT / 2 - 10);
}

TEST(epoll_ctl_fails_as_the_kernel_does)
{
	int epoll = epoll_create1(0);

	errno = 0;
	CHECK_EQ(epoll_ctl(-1, EPOLL_CTL_ADD, 0, NULL), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_DEL, 1000, NULL), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &(struct epoll_event){0}), -1);
	CHECK_EQ(errno, EINVAL);
}

/* ---- timers and queues ---- */

static NOINLINE timer_t make_timer(uintptr_t hidden)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
		.sigev_value.sival_ptr = reveal(hidden)};
	timer_t timer;

	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	memset(&event, 0, sizeof(event));
	__asm__ volatile("" : : "r"(&event) : "memory");
	return timer;
}

ROOT_TEST(timer_sigval, "kernel_held")
{
	uintptr_t hidden = hide_block(64);

	make_timer(hidden);
	collect();
	return is_kept(hidden);
}

TEST(timer_sigval_dies_with_its_timer)
{
	uintptr_t hidden = hide_block(64);

	CHECK_EQ(timer_delete(make_timer(hidden)), 0);
	collect();
	CHECK(!is_kept(hidden));
}

static NOINLINE void notify(mqd_t queue, uintptr_t hidden)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
		.sigev_value.sival_ptr = reveal(hidden)};

	CHECK_EQ(mq_notify(queue, &event), 0);
	memset(&event, 0, sizeof(event));
	__asm__ volatile("" : : "r"(&event) : "memory");
}

ROOT_TEST(message_queue_sigval, "kernel_held")
{
	char name[64];
	uintptr_t hidden = hide_block(64);
	mqd_t queue;

	snprintf(name, sizeof(name), "/gasket-test-%d", getpid());
	queue = mq_open(name, O_CREAT | O_RDONLY, 0600, NULL);
	if (queue == (mqd_t)-1)
		test_skip("no message queues");
	mq_unlink(name);
	notify(queue, hidden);
	collect();
	return is_kept(hidden);
}

/* ---- alternate signal stack ---- */

enum { ALTSTACK_BYTES = 64 * 1024 };

static NOINLINE void set_altstack(uintptr_t hidden)
{
	stack_t stack = {.ss_sp = reveal(hidden), .ss_size = ALTSTACK_BYTES};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	memset(&stack, 0, sizeof(stack));
	__asm__ volatile("" : : "r"(&stack) : "memory");
}

/* This thread waits for the cycle and gets no stop signal, whose frame would name the block too. */
ROOT_TEST(memory_of_an_alternate_signal_stack, "kernel_held")
{
	uintptr_t hidden = hide_block(ALTSTACK_BYTES);

	set_altstack(hidden);
	collect();
	return is_kept(hidden);
}

/* A handler that waits on the alternate stack, which lies in the thread's own stack: what is below it there is alive. */
struct altstack_job {
	uintptr_t hidden;
	volatile int ready;
	volatile int stop;
};
static struct altstack_job altstack_job;

static void wait_in_handler(int number)
{
	(void)number;
	altstack_job.ready = 1;
	while (!altstack_job.stop)
		__asm__ volatile("pause");
}

static NOINLINE void raise_deeper(void)
{
	volatile uintptr_t words[64] = {0};

	put(altstack_job.hidden, (void *)&words[30]);
	scrub();
	raise(SIGUSR2);
	__asm__ volatile("" : : "r"(words) : "memory");
}

static NOINLINE void *run_with_altstack_on_own_stack(void *argument)
{
	char memory[ALTSTACK_BYTES];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	raise_deeper();
	stack.ss_flags = SS_DISABLE;
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	return argument;
}

ROOT_TEST(stack_below_an_alternate_stack_within_it, "stacks")
{
	struct sigaction action = {.sa_handler = wait_in_handler, .sa_flags = SA_ONSTACK};
	pthread_t thread;

	altstack_job.hidden = hide_block(64);
	CHECK_EQ(sigaction(SIGUSR2, &action, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, run_with_altstack_on_own_stack, NULL), 0);
	while (!altstack_job.ready)
		usleep(1000);
	collect();
	if (!is_kept(altstack_job.hidden))
		return false;
	altstack_job.stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return true;
}

/* The same in a call that counts as stopped: there is no signal frame of ours that says which alternate stack the thread has. */
static void collect_in_handler(int number)
{
	(void)number;
	collect();
}

static NOINLINE void hide_and_raise(void)
{
	altstack_job.hidden = hide_block(64);
	raise_deeper();
}

static NOINLINE bool keeps_stack_below_handler(int (*set)(const stack_t *stack))
{
	struct sigaction action = {.sa_handler = collect_in_handler, .sa_flags = SA_ONSTACK};
	char memory[ALTSTACK_BYTES];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	CHECK_EQ(set(&stack), 0);
	CHECK_EQ(sigaction(SIGUSR2, &action, NULL), 0);
	hide_and_raise();
	stack.ss_flags = SS_DISABLE;
	CHECK_EQ(set(&stack), 0);
	return is_kept(altstack_job.hidden);
}

static int set_by_libc(const stack_t *stack)
{
	return sigaltstack(stack, NULL);
}

static int set_by_kernel(const stack_t *stack)
{
	return (int)syscall(SYS_sigaltstack, stack, NULL);
}

ROOT_TEST(stack_below_an_alternate_stack_that_was_set_before_the_first_malloc, "stacks")
{
	return keeps_stack_below_handler(set_by_libc);
}

ROOT_TEST(stack_below_an_alternate_stack_that_was_set_by_a_raw_call, "stacks")
{
	return keeps_stack_below_handler(set_by_kernel);
}

/* A handler that waits on an alternate stack of its own, with the address there. */
static void hold_in_handler(int number)
{
	volatile uintptr_t words[64] = {0};

	(void)number;
	put(altstack_job.hidden, (void *)&words[30]);
	altstack_job.ready = 1;
	while (!altstack_job.stop)
		__asm__ volatile("pause");
}

static uintptr_t altstack_block; // hidden

static NOINLINE void *raise_on_hidden_altstack(void *argument)
{
	set_altstack(altstack_block);
	scrub();
	raise(SIGUSR2);
	return argument;
}

/* The thread stands on it: its stack pointer and its registers name it as the kernel does. */
ROOT_TEST(alternate_stack_in_a_heap_block, "kernel_held+stacks+registers")
{
	struct sigaction action = {.sa_handler = hold_in_handler, .sa_flags = SA_ONSTACK};
	pthread_t thread;

	altstack_job.hidden = hide_block(64);
	altstack_block = hide_block(ALTSTACK_BYTES);
	CHECK_EQ(sigaction(SIGUSR2, &action, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, raise_on_hidden_altstack, NULL), 0);
	while (!altstack_job.ready)
		usleep(1000);
	collect();
	if (!is_kept(altstack_job.hidden) || !is_kept(altstack_block))
		return false;
	altstack_job.stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return true;
}

/* ---- io_uring ---- */

struct ring {
	int descriptor;
	char *rings;
	struct io_uring_sqe *entries;
	struct io_uring_params parameters;
};

static bool ring_open(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->descriptor = (int)syscall(SYS_io_uring_setup, 8, &ring->parameters);
	if (ring->descriptor < 0)
		return false;
	ring->rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring->descriptor,
		IORING_OFF_SQ_RING);
	ring->entries = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring->descriptor, IORING_OFF_SQES);
	return ring->rings != MAP_FAILED && (char *)ring->entries != MAP_FAILED;
}

/* Reads from an empty pipe in a worker of the kernel; the address is the request's user_data, and wiped from the ring. */
static NOINLINE void ring_submit_read(
	struct ring *ring, int descriptor, void *buffer, uintptr_t hidden)
{
	struct io_sqring_offsets *offsets = &ring->parameters.sq_off;
	unsigned *tail = (unsigned *)(ring->rings + offsets->tail);
	unsigned *indices = (unsigned *)(ring->rings + offsets->array);
	struct io_uring_sqe *entry = &ring->entries[*tail & 7];

	memset(entry, 0, sizeof(*entry));
	entry->opcode = IORING_OP_READ;
	entry->flags = IOSQE_ASYNC;
	entry->fd = descriptor;
	entry->addr = (uintptr_t)buffer;
	entry->len = 1;
	entry->user_data = (uintptr_t)reveal(hidden);
	indices[*tail & 7] = *tail & 7;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	CHECK_EQ(syscall(SYS_io_uring_enter, ring->descriptor, 1, 0, 0, NULL, 0), 1);
	memset(entry, 0, sizeof(*entry));
}

/* Without `mappings` nobody sees the ring, thus nobody knows that requests may be in flight. */
ROOT_TEST(io_uring_request_with_a_worker_alive, "mappings")
{
	static char buffer[8];
	uintptr_t hidden = hide_block(64);
	struct ring ring;
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	if (!ring_open(&ring))
		test_skip("no io_uring");
	ring_submit_read(&ring, ends[0], buffer, hidden);
	usleep(50000); // the worker is a task of this process now
	collect();
	return is_kept(hidden);
}

ROOT_TEST(io_uring_entry_that_was_not_submitted, "mappings")
{
	uintptr_t hidden = hide_block(64);
	struct ring ring;

	if (!ring_open(&ring))
		test_skip("no io_uring");
	put(hidden, &ring.entries[3].user_data);
	collect();
	return is_kept(hidden);
}
