/*
 * The table of pointers that only the kernel holds, against a plain list.
 */
#include "scanners/kernel_held.h"

#include "core/os/lock.h"
#include "scanners/scanners.h"
#include "tests/harness/test.h"

#include <stdlib.h>

enum { KEYS = 300, STEPS = 200000 };

static struct held_key key_of(int number)
{
	return (struct held_key){
		HELD_EPOLL + (uint32_t)number % 3, (uint32_t)number, (uint64_t)number / 2};
}

static size_t seen;
static uint64_t sum;

static void add_words(void *argument, const uintptr_t *words, size_t count)
{
	(void)argument;
	for (size_t i = 0; i < count; i++) {
		seen++;
		sum += words[i];
	}
}

TEST(table_holds_what_a_list_holds)
{
	static uint64_t expected[KEYS]; // 0: absent
	struct root_scan scan = {.sink = add_words};
	struct signal_guard guard;
	size_t count = 0;
	uint64_t expected_sum = 0, value;

	held_begin(&guard);
	for (int step = 0; step < STEPS; step++) {
		int number = rand() % KEYS;

		if (rand() % 2) {
			expected[number] = (uint64_t)rand() + 1;
			held_set(key_of(number), expected[number]);
		} else {
			expected[number] = 0;
			held_drop(key_of(number));
		}
		number = rand() % KEYS;
		CHECK_EQ(held_get(key_of(number), &value), expected[number] != 0);
		CHECK(expected[number] == 0 || value == expected[number]);
	}
	held_end(&guard);
	for (int i = 0; i < KEYS; i++) {
		count += expected[i] != 0;
		expected_sum += expected[i];
	}
	CHECK_EQ(held_count(), count);
	CHECK(scanner_kernel_held.scan(&scan));
	CHECK_EQ(seen, count);
	CHECK_EQ(sum, expected_sum);
}
