/*
 * stops THREADS SECONDS [floor]: THREADS that compute, write and allocate and never wait, for a collector to stop (gctrace=1 tells how long that took).
 *
 * With `floor` they are stopped from here, again and again, as fast as the scheduler lets anybody do it: each gets a signal (tgkill) whose handler says that it
 * came and waits until all have. Prints the milliseconds from the first signal to the last answer, one line.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 4096, BLOCK_BYTES = 64, PERIOD_US = 50000, THREADS_MAX = 64 };

/* Pipes: a byte for each thread. The stops take turns with the second kind, as a thread that is late would lose its byte to the next stop. */
static int came[2], leave[2][2];
static unsigned stop_count;

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void *spin(void *argument)
{
	static _Thread_local void *blocks[BLOCKS];
	uint64_t random = (uintptr_t)argument;

	for (;;) {
		void **place;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		place = &blocks[random % BLOCKS];
		if (*place && random >> 60) {
			++*(uint64_t *)*place;
		} else {
			free(*place);
			*place = calloc(1, BLOCK_BYTES);
		}
	}
	return NULL;
}

static void pass(ssize_t done)
{
	if (done != 1)
		_exit(1);
}

static void wait_here(int signal)
{
	unsigned turn = __atomic_load_n(&stop_count, __ATOMIC_ACQUIRE) % 2;
	char byte = (char)signal;

	pass(write(came[1], &byte, 1));
	pass(read(leave[turn][0], &byte, 1));
}

static double stop_all(const pthread_t *threads, size_t count)
{
	unsigned turn = __atomic_add_fetch(&stop_count, 1, __ATOMIC_RELEASE) % 2;
	double start = now_ms(), end;
	char byte = 0;

	for (size_t i = 0; i < count; i++)
		pthread_kill(threads[i], SIGUSR1); // tgkill
	for (size_t i = 0; i < count; i++)
		pass(read(came[0], &byte, 1));
	end = now_ms();
	for (size_t i = 0; i < count; i++)
		pass(write(leave[turn][1], &byte, 1));
	return end - start;
}

int main(int argument_count, char **arguments)
{
	size_t count = argument_count > 2 ? strtoul(arguments[1], NULL, 10) : 0;
	unsigned seconds = argument_count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 0;
	double end = now_ms() + seconds * 1e3;
	pthread_t threads[THREADS_MAX];

	if (count < 1 || count > THREADS_MAX || pipe(came) != 0 || pipe(leave[0]) != 0 ||
		pipe(leave[1]) != 0)
		return 2;
	signal(SIGUSR1, wait_here);
	for (size_t i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, spin, (void *)(i + 1)) != 0)
			return 1;
	}
	if (argument_count == 3)
		sleep(seconds);
	while (argument_count > 3 && now_ms() < end) {
		usleep(PERIOD_US);
		printf("%.3f ", stop_all(threads, count));
	}
	printf("\n");
	return 0;
}
