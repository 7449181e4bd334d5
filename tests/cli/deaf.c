/*
 * deaf: frees and allocates beside a thread that no signal reaches, so that no cycle can give a verdict, until standard input is closed.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RING = 256, BYTES = 2000, ROUND = 20000 };

static void *volatile ring[RING];

/* libc's own call would leave the collector's signal out. */
static void *spin_deaf(void *argument)
{
	uint64_t all = ~0ull;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	for (;;)
		__asm__ volatile("pause");
	return argument;
}

static int input_is_open(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, 1) == 0;
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spin_deaf, NULL) != 0)
		return 1;
	while (input_is_open()) {
		for (int i = 0; i < ROUND; i++) {
			free(ring[i % RING]);
			ring[i % RING] = memset(malloc(BYTES), 1, BYTES);
		}
	}
	return 0;
}
