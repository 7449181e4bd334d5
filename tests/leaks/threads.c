/*
 * What threads take with them: arguments, results, and data kept for each thread.
 */
#include "tests/leaks/shape.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void join(pthread_t thread)
{
	pthread_join(thread, NULL);
}

/* ---- the result of a thread that nobody joins ---- */

struct start {
	sem_t has_begun, is_detached, is_done;
	bool fixed;
};

KEEP static int *result_create(void)
{
	int *result = malloc(sizeof(*result));

	*result = 7;
	return result;
}

static void *compute(void *argument)
{
	struct start *start = argument;
	int *result;

	sem_post(&start->has_begun);
	sem_wait(&start->is_detached);
	result = start->fixed ? NULL : result_create();
	sem_post(&start->is_done);
	return result;
}

static sem_t all_are_there;

static void *wait_for_all(void *argument)
{
	sem_wait(&all_are_there);
	return argument;
}

/* Libc keeps the descriptors of threads that are gone, with their results and variables: the next threads overwrite them. */
KEEP static void reuse_descriptors(void)
{
	enum { NEXT_THREADS = 8 };
	pthread_t threads[NEXT_THREADS];

	usleep(20000); // the others are gone
	sem_init(&all_are_there, 0, 0);
	for (int i = 0; i < NEXT_THREADS; i++) {
		if (pthread_create(&threads[i], NULL, wait_for_all, NULL) != 0)
			abort();
	}
	for (int i = 0; i < NEXT_THREADS; i++)
		sem_post(&all_are_there);
	for (int i = 0; i < NEXT_THREADS; i++)
		join(threads[i]);
}

/* The wrapper makes room for the result in any case, and who joins frees it. */
KEEP static void result_of_detached(bool fixed)
{
	static struct start start;

	start.fixed = fixed;
	sem_init(&start.has_begun, 0, 0);
	sem_init(&start.is_detached, 0, 0);
	sem_init(&start.is_done, 0, 0);
	TIMES(3)
	{
		pthread_t thread;

		if (pthread_create(&thread, NULL, compute, &start) != 0)
			abort();
		sem_wait(&start.has_begun);
		pthread_detach(thread);
		sem_post(&start.is_detached);
		sem_wait(&start.is_done);
	}
	reuse_descriptors();
}

/* ---- the argument of a thread that is not started ---- */

struct job {
	void (*run)(void);
	char text[100];
};

static void *run_job(void *argument)
{
	free(argument);
	return NULL;
}

KEEP static struct job *job_create(void)
{
	return calloc(1, sizeof(struct job));
}

KEEP static bool start_job(size_t stack_bytes, bool fixed)
{
	struct job *job = job_create();
	pthread_attr_t attributes;
	pthread_t thread;
	bool started;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, stack_bytes);
	started = pthread_create(&thread, &attributes, run_job, job) == 0;
	pthread_attr_destroy(&attributes);
	if (started)
		join(thread);
	else if (fixed)
		free(job);
	return started;
}

KEEP static void argument_of_failed_thread(bool fixed)
{
	use(start_job(1 << 16, fixed) ? "" : NULL);
	TIMES(3)
	use(start_job((size_t)1 << 47, fixed) ? "" : NULL); // more than there is address space
}

/* ---- data of each thread ---- */

static pthread_key_t key, other_key;

KEEP static void *data_create(void)
{
	return calloc(1, 136);
}

static void *use_key(void *argument)
{
	pthread_setspecific(key, data_create());
	return argument;
}

static void run_threads(int count, void *(*start)(void *), void *argument)
{
	TIMES(count)
	{
		pthread_t thread;

		if (pthread_create(&thread, NULL, start, argument) != 0)
			abort();
		join(thread);
	}
}

KEEP static void key_without_destructor(bool fixed)
{
	pthread_key_create(&key, fixed ? free : NULL);
	run_threads(3, use_key, NULL);
	pthread_key_delete(key);
}

/* Deleting the key does not run its destructor for who still has data, nor does the end of that thread. */
struct visitor {
	sem_t has_data, key_is_gone;
	bool fixed;
};

static void *use_deleted_key(void *argument)
{
	struct visitor *visitor = argument;

	pthread_setspecific(key, data_create());
	if (visitor->fixed) {
		free(pthread_getspecific(key));
		pthread_setspecific(key, NULL);
	}
	sem_post(&visitor->has_data);
	sem_wait(&visitor->key_is_gone);
	return NULL;
}

KEEP static void key_deleted_too_early(bool fixed)
{
	struct visitor visitor = {.fixed = fixed};
	pthread_t thread;

	sem_init(&visitor.has_data, 0, 0);
	sem_init(&visitor.key_is_gone, 0, 0);
	pthread_key_create(&key, free);
	if (pthread_create(&thread, NULL, use_deleted_key, &visitor) != 0)
		abort();
	sem_wait(&visitor.has_data);
	pthread_key_delete(key);
	sem_post(&visitor.key_is_gone);
	join(thread);
}

/* The destructor of the second key wants the data of the first: they are nulled by then. */
static void release_other(void *data)
{
	free(pthread_getspecific(other_key));
	use(data);
}

static void *use_both_keys(void *argument)
{
	pthread_setspecific(other_key, data_create());
	pthread_setspecific(key, argument);
	return NULL;
}

KEEP static void key_nulled_before_its_user(bool fixed)
{
	if (fixed) {
		pthread_key_create(&other_key, free);
		pthread_key_create(&key, NULL);
	} else {
		pthread_key_create(&other_key, NULL);
		pthread_key_create(&key, release_other);
	}
	run_threads(4, use_both_keys, &key);
	pthread_key_delete(key);
	pthread_key_delete(other_key);
}

/* The destructor counts up where it was to count down. */
static int step;

static void release_counted(void *data)
{
	int *references = data;

	*references += step;
	if (*references == 0)
		free(data);
}

KEEP static int *counted_create(void)
{
	int *references = calloc(1, 64);

	*references = 1;
	return references;
}

static void *use_counted(void *argument)
{
	pthread_setspecific(key, counted_create());
	return argument;
}

KEEP static void retained_by_destructor(bool fixed)
{
	step = fixed ? -1 : 1;
	pthread_key_create(&key, release_counted);
	run_threads(2, use_counted, NULL);
	pthread_key_delete(key);
}

/* ---- a list of each thread's, dropped when the thread ends ---- */

static __thread struct job *threads_jobs;

KEEP static void *take_and_end(void *argument)
{
	bool fixed = *(bool *)argument;

	threads_jobs = job_create();
	use(&threads_jobs);
	if (fixed)
		free(threads_jobs);
	return NULL;
}

KEEP static void thread_local_at_end(bool fixed)
{
	run_threads(3, take_and_end, &fixed);
	reuse_descriptors();
}

/* ---- handed from one thread to another, and dropped there ---- */

static struct job *_Atomic handed_over;

static void *producer(void *argument)
{
	handed_over = job_create();
	return argument;
}

static void *consumer(void *argument)
{
	struct job *job = handed_over;

	handed_over = NULL;
	if (*(bool *)argument)
		free(job);
	return NULL;
}

KEEP static void dropped_by_consumer(bool fixed)
{
	TIMES(3)
	{
		run_threads(1, producer, NULL);
		run_threads(1, consumer, &fixed);
	}
}

const struct shape thread_shapes[] = {
	{"result_of_detached", result_of_detached, "result_create", {3, 12}, {0, 0},
		SHAPE_LINK("tinycthread/tinycthread/issues/24")},
	{"argument_of_failed_thread", argument_of_failed_thread, "job_create", {3, 336}, {0, 0},
		SHAPE_LINK("lneely/pcloudcc-lneely/pull/300")},
	{"key_without_destructor", key_without_destructor, "data_create", {3, 408}, {0, 0}, "own"},
	{"key_deleted_too_early", key_deleted_too_early, "data_create", {1, 136}, {0, 0},
		SHAPE_LINK("orlyatomics/orly/pull/181")},
	{"key_nulled_before_its_user", key_nulled_before_its_user, "data_create", {4, 544}, {0, 0},
		SHAPE_LINK("openssl/openssl/pull/29182")},
	{"retained_by_destructor", retained_by_destructor, "counted_create", {2, 128}, {0, 0},
		SHAPE_LINK("tensorflow/swift-apis/pull/611")},
	{"thread_local_at_end", thread_local_at_end, "job_create", {3, 336}, {0, 0}, "own"},
	{"dropped_by_consumer", dropped_by_consumer, "producer", {3, 336}, {0, 0}, "own"},
	{0},
};
