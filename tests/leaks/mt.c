/*
 * mt [CHURN]: four threads lose 1000 items of 32 bytes, each of which holds a payload of 8 to 107 bytes: 2000 blocks, 89500 bytes. Eight blocks are held by
 * the threads' own variables and stacks; the threads are still there when the program ends. CHURN pairs of malloc and free come first (0), shared by them.
 */
#include "tests/leaks/programs.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

enum { THREADS = 4, ITEMS = 1000 };

struct item {
	char *payload;
	char text[24];
};

static unsigned long churn_pairs;
static sem_t is_done;
static __thread void *of_thread;
static __thread int first_number;

KEEP static char *make_payload(int number)
{
	return malloc((size_t)(8 + number % 100));
}

KEEP static void make_item(int number)
{
	struct item *item = calloc(1, sizeof(*item));

	item->payload = make_payload(number);
	memset(item->payload, 0, 8);
	use(item);
}

KEEP static void run_thread(void)
{
	churn(churn_pairs / THREADS);
	TIMES(ITEMS / THREADS)
	make_item(first_number + turn);
}

KEEP static void *keep_block(void)
{
	return calloc(1, 500);
}

static void *work(void *argument)
{
	void *volatile on_stack[2];

	first_number = (int)(intptr_t)argument * (ITEMS / THREADS);
	programs_run(run_thread);
	on_stack[0] = keep_block();
	of_thread = keep_block();
	use(&of_thread);
	sem_post(&is_done);
	for (;;)
		pause();
	use((void *)&on_stack);
	return argument;
}

int main(int count, char **arguments)
{
	churn_pairs = count > 1 ? strtoul(arguments[1], NULL, 10) : 0;
	sem_init(&is_done, 0, 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, work, (void *)(intptr_t)i) != 0)
			return 1;
		pthread_detach(thread);
	}
	for (int i = 0; i < THREADS; i++)
		sem_wait(&is_done);
	return 0;
}
