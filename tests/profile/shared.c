/*
 * shared [stay]: leaked structures whose counting is a matter of choice: rings of blocks of two origins, and blocks that several leaks hold. With `stay` it does not end.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __clang__
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noinline, noclone))
#endif
#define AFTER_CALL __asm__ volatile("" : : : "memory")

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
	char dead[16384];

	memset(dead, 0, sizeof(dead));
	__asm__ volatile("" : : "r"(dead) : "memory");
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
	free(make_head(4000));
	scrub();
	while (count > 1)
		usleep(10000);
	return 0;
}
