/*
 * waiter pause|poll|spin|vfork|unshare|exit|end: allocates ten blocks, loses four of them, and waits for good:
 *
 *	pause, poll	in one call
 *	spin		in none
 *	vfork		the same, after a child of vfork has made the first call that waits
 *	unshare		after a call that wants a process of one thread
 *	exit		main ends by pthread_exit, and another thread waits
 *	end		the same, but that one waits for a moment only, and is the last
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 10, LOST = 4, BYTES = 300 };

static void *volatile held[BLOCKS];

__attribute__((noinline)) static void allocate(void)
{
	for (int i = 0; i < BLOCKS; i++)
		held[i] = memset(malloc(BYTES), 1, BYTES);
	for (int i = 0; i < LOST; i++)
		held[i] = NULL;
}

__attribute__((noinline)) static void scrub_stack(void)
{
	volatile char dead[8192];

	memset((char *)dead, 0, sizeof(dead));
}

/* The child's call is the first of the process that waits; its end must take nothing along. */
static void have_child(void)
{
	pid_t child = vfork();

	if (child == 0) {
		poll(NULL, 0, 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void *wait_in_thread(void *milliseconds)
{
	poll(NULL, 0, *(const int *)milliseconds);
	return NULL;
}

/* The block that a thread-local variable of main's names is in use, for the variable's address is known. */
static void leave_to_thread(int milliseconds)
{
	static __thread void *volatile block;
	static void *volatile *variable;
	static int wait;
	pthread_t thread;

	wait = milliseconds;
	variable = &block;
	*variable = memset(malloc(BYTES), 1, BYTES);
	if (pthread_create(&thread, NULL, wait_in_thread, &wait) != 0)
		exit(1);
	pthread_exit(NULL);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "pause";

	if (!strcmp(how, "vfork"))
		have_child();
	allocate();
	scrub_stack();
	if (!strcmp(how, "unshare")) {
		poll(NULL, 0, 50);
		unshare(CLONE_FS | CLONE_FILES);
	}
	if (!strcmp(how, "exit"))
		leave_to_thread(-1);
	if (!strcmp(how, "end"))
		leave_to_thread(100);
	if (!strcmp(how, "poll"))
		poll(NULL, 0, -1);
	while (!strcmp(how, "spin"))
		__asm__ volatile("" ::: "memory");
	pause();
	return 0;
}
