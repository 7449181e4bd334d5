/*
 * pauses MIB SECONDS [WRITERS [BLOCKED [BYTES]]]: what a collection costs the program, as the program sees it.
 *
 * MIB mebibytes of live blocks of BYTES (64) in a list of random order; one thread that only looks at the clock; WRITERS threads (0) that store random pointers into
 * the blocks and free and allocate one in 64 of them; BLOCKED threads (64) that wait for ever. The longest times between two looks at the clock are the pauses;
 * run without the collector they are the machine's own.
 *
 * Prints one line: gaps in microseconds (p50 of the gaps above 20 us, p99, the five longest), steps of the writers per second, and how many gaps were at least 32,
 * 64, 128... us long, but shorter than the next.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { GAP_NS = 20000, GAPS_MAX = 1 << 20, LONGEST = 5, HISTOGRAM_US_MAX = 1 << 22 };

struct node {
	struct node *next;
	struct node *other;
	uint64_t payload[6];
};

static struct node *first;
static struct node **nodes; // in one large block
static size_t node_count;
static uint32_t is_over;
static uint64_t gaps[GAPS_MAX];
static size_t gap_count;
static uint64_t steps;

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t random_step(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int goes_on(void)
{
	return !__atomic_load_n(&is_over, __ATOMIC_RELAXED);
}

static void make_nodes(size_t mib, size_t bytes)
{
	uint64_t seed = 1;

	node_count = (mib << 20) / bytes;
	nodes = malloc(node_count * sizeof(*nodes));
	for (size_t i = 0; i < node_count; i++) {
		size_t other = random_step(&seed) % (i + 1);

		nodes[i] = nodes[other];
		nodes[other] = malloc(bytes);
		nodes[other]->other = NULL;
	}
	for (size_t i = 0; i < node_count; i++) {
		nodes[i]->next = first;
		first = nodes[i];
	}
}

static void *look_at_the_clock(void *argument)
{
	uint64_t before = now_ns();

	while (goes_on()) {
		uint64_t now = now_ns();

		if (now - before > GAP_NS && gap_count < GAPS_MAX)
			gaps[gap_count++] = now - before;
		before = now;
	}
	return argument;
}

/* `other` of a node is its alone; the list stays. */
static void *write_at_random(void *argument)
{
	uint64_t seed = (uintptr_t)argument, done = 0;

	for (; goes_on(); done++) {
		struct node *node = nodes[random_step(&seed) % node_count];

		if (done % 64 == 0) {
			struct node *old =
				__atomic_exchange_n(&node->other, NULL, __ATOMIC_RELAXED);

			if (old && old->payload[0] == 1) {
				old->payload[0] = 0;
				free(old);
			}
			old = malloc(sizeof(*old));
			old->payload[0] = 1;
			old = __atomic_exchange_n(&node->other, old, __ATOMIC_RELAXED);
			(void)old; // lost to another writer, now and then: a leak
		} else {
			__atomic_fetch_add(&node->payload[1], 1, __ATOMIC_RELAXED);
		}
	}
	__atomic_fetch_add(&steps, done, __ATOMIC_RELAXED);
	return NULL;
}

static void *wait_for_ever(void *argument)
{
	int *ends = argument;
	char byte;

	return read(ends[0], &byte, 1) == 0 ? NULL : argument;
}

static int is_longer(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left < *right) - (*left > *right);
}

int main(int count, char **arguments)
{
	size_t mib = count > 1 ? strtoul(arguments[1], NULL, 10) : 256;
	unsigned seconds = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 10;
	size_t writers = count > 3 ? strtoul(arguments[3], NULL, 10) : 0;
	size_t blocked = count > 4 ? strtoul(arguments[4], NULL, 10) : 64;
	size_t bytes = count > 5 ? strtoul(arguments[5], NULL, 10) : sizeof(struct node);
	pthread_t clock, *threads = malloc((writers + blocked + 1) * sizeof(*threads));
	int ends[2];

	if (!threads || bytes < sizeof(struct node) || pipe(ends) != 0)
		return 1;
	make_nodes(mib, bytes);
	for (size_t i = 0; i < writers + blocked; i++) {
		if (pthread_create(&threads[i], NULL, i < writers ? write_at_random : wait_for_ever,
			    i < writers ? (void *)(i + 1) : ends) != 0)
			return 1;
	}
	if (pthread_create(&clock, NULL, look_at_the_clock, NULL) != 0)
		return 1;
	sleep(seconds);
	__atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
	close(ends[1]);
	for (size_t i = 0; i < writers + blocked; i++)
		pthread_join(threads[i], NULL);
	pthread_join(clock, NULL);
	qsort(gaps, gap_count, sizeof(*gaps), is_longer);
	printf("gaps %zu, p50 %lu us, p99 %lu us, longest", gap_count,
		gap_count ? gaps[gap_count / 2] / 1000 : 0,
		gap_count ? gaps[gap_count / 100] / 1000 : 0);
	for (size_t i = 0; i < LONGEST && i < gap_count; i++)
		printf(" %lu", gaps[i] / 1000);
	printf(" us, %lu steps/s, histogram", steps / seconds);
	for (uint64_t least = 32; least <= HISTOGRAM_US_MAX; least *= 2) {
		size_t in = 0;

		for (size_t i = 0; i < gap_count; i++)
			in += gaps[i] / 1000 >= least && gaps[i] / 1000 < 2 * least;
		printf(" %lu", in);
	}
	printf("\n");
	return 0;
}
