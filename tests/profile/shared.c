/*
 * shared [stay]: leaked structures whose counting is a matter of choice: rings of blocks of two origins, and blocks that several leaks hold. With `stay` it does not end.
 */
#include "tests/harness/frames.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct node {
	struct node *next, *other;
};

#define MAKER(name) \
	KEEP static struct node *name(size_t bytes) \
	{ \
		struct node *node = calloc(1, bytes); \
\
		AFTER_CALL; \
		return node; \
	}
MAKER(make_head)
MAKER(make_tail)
MAKER(make_left)
MAKER(make_right)
MAKER(make_common)
MAKER(make_freed)
MAKER(make_holder)

struct node *global[2];

/* Freed and still referred to: by a global and by a block. */
KEEP static void leave_dangling(void)
{
	global[0] = make_freed(600);
	global[1] = make_holder(64);
	global[1]->next = global[0];
	free(global[0]);
	AFTER_CALL;
}

/* Head and tail refer to each other; whose address is lower changes. */
KEEP static void leak_ring(int turn)
{
	struct node *head = turn & 1 ? make_head(48) : NULL, *tail = make_tail(48);

	if (!head)
		head = make_head(48);
	head->next = tail;
	tail->next = head;
	AFTER_CALL;
}

/* Left and right both hold a block, which holds another. */
KEEP static void leak_shared(int turn)
{
	struct node *left = turn & 1 ? make_left(96) : NULL, *right = make_right(96);

	if (!left)
		left = make_left(96);
	left->next = right->next = make_common(64);
	left->next->next = make_common(80);
	AFTER_CALL;
}

/* The dead part of the stack holds no address afterwards. */
KEEP static void scrub(void)
{
	WIPE_STACK(16384);
}

KEEP static void leak_all(void)
{
	for (volatile int i = 0; i < 3; i++)
		leak_ring(i);
	for (volatile int i = 0; i < 4; i++)
		leak_shared(i);
	AFTER_CALL;
}

int main(int count, char **arguments)
{
	(void)arguments;
	leak_all();
	leave_dangling();
	free(make_head(4000));
	scrub();
	while (count > 1)
		usleep(10000);
	return 0;
}
