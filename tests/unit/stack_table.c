#include "core/profile/stack_table.h"
#include "tests/harness/test.h"

#include <pthread.h>
#include <sys/resource.h>

TEST(keeps_each_stack_once)
{
	uintptr_t a[] = {1, 2, 3}, b[] = {1, 2, 4};
	uint32_t id = stack_table_add(a, 3, 0);

	CHECK_NE(id, 0u);
	CHECK_EQ(stack_table_add(a, 3, 0), id);
	CHECK_NE(stack_table_add(b, 3, 0), id);
	CHECK_NE(stack_table_add(a, 2, 0), id);
	CHECK_EQ(stack_table_count(), 3u);
}

TEST(tells_epochs_apart)
{
	uintptr_t a[] = {1, 2, 3};

	CHECK_NE(stack_table_add(a, 3, 0), stack_table_add(a, 3, 1));
}

TEST(gives_back_what_was_put_in)
{
	uintptr_t frames[STACK_DEPTH_MAX];
	const struct stack *stack;

	for (unsigned i = 0; i < STACK_DEPTH_MAX; i++)
		frames[i] = i * 77;
	stack = stack_table_get(stack_table_add(frames, STACK_DEPTH_MAX, 9));
	CHECK_EQ(stack->depth, (uint32_t)STACK_DEPTH_MAX);
	CHECK_EQ(stack->epoch, 9u);
	CHECK_MEM_EQ(stack->frames, frames, sizeof(frames));
}

TEST(knows_no_other_ids)
{
	CHECK_NULL(stack_table_get(0));
	CHECK_NULL(stack_table_get(1));
	CHECK_NULL(stack_table_get(UINT32_MAX));
}

TEST(counts_what_finds_no_memory)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	const struct rlimit all = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	uintptr_t a[] = {1, 2, 3};

#ifdef __SANITIZE_THREAD__
	test_skip("the runtime of this sanitizer maps memory of its own in calls like these");
#endif
	CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
	CHECK_EQ(stack_table_add(a, 3, 0), 0u);
	CHECK_EQ(setrlimit(RLIMIT_AS, &all), 0);
	CHECK_EQ(stack_table_dropped(), 1ul);
	CHECK_NE(stack_table_add(a, 3, 0), 0u);
	CHECK_EQ(stack_table_dropped(), 1ul);
}

enum { STACKS = 20000, THREADS = 4 };

static uint32_t ids[THREADS][STACKS];

static void *add_all(void *argument)
{
	uint32_t *mine = argument;

	for (uintptr_t i = 0; i < STACKS; i++) {
		uintptr_t frames[] = {i * 64, i / 7, 5};

		mine[i] = stack_table_add(frames, 3, 0);
	}
	return NULL;
}

TEST(threads_agree_on_ids)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, add_all, ids[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 1; i < THREADS; i++)
		CHECK_MEM_EQ(ids[0], ids[i], sizeof(ids[0]));
	CHECK_EQ(stack_table_count(), (uint32_t)STACKS);
	for (uintptr_t i = 0; i < STACKS; i++)
		CHECK_EQ(stack_table_get(ids[0][i])->frames[0], i * 64);
}
