/*
 * st [CHURN]: leaks of every basic form in one thread, among much that is none. CHURN pairs of malloc and free come first (0).
 *
 *	1000 blocks of 100 bytes that nothing refers to
 *	100 lists of 10 nodes of 64 bytes
 *	50 rings of two blocks of 48 bytes
 *
 * which is 2100 blocks and 168800 bytes. Besides 20 blocks that only pointers into their middle refer to, 10 whose address is kept inverted (no tool can
 * know), and 10000 in use.
 */
#include "tests/leaks/programs.h"

enum {
	PLAIN = 1000,
	LISTS = 100,
	LIST_LENGTH = 10,
	RINGS = 50,
	INNER = 20,
	HIDDEN = 10,
	LIVE = 10000
};

struct node {
	struct node *next;
	char text[56];
};

struct half {
	struct half *other;
	char text[40];
};

static void *live[LIVE];
static char *inner[INNER];
static uintptr_t hidden[HIDDEN];

KEEP static void leak_plain(void)
{
	TIMES(PLAIN)
	use(calloc(1, 100));
}

KEEP static struct node *make_node(struct node *next)
{
	struct node *node = calloc(1, sizeof(*node));

	node->next = next;
	return node;
}

KEEP static void leak_lists(void)
{
	TIMES(LISTS)
	{
		struct node *list = NULL;

		for (volatile int i = 0; i < LIST_LENGTH; i = i + 1)
			list = make_node(list);
		use(list);
	}
}

KEEP static struct half *make_half(void)
{
	return calloc(1, sizeof(struct half));
}

KEEP static void leak_rings(void)
{
	TIMES(RINGS)
	{
		struct half *one = make_half();

		one->other = make_half();
		one->other->other = one;
	}
}

KEEP static void keep_inner(void)
{
	for (volatile int i = 0; i < INNER; i = i + 1)
		inner[i] = (char *)calloc(1, 200) + 40;
}

KEEP static void keep_hidden(void)
{
	for (volatile int i = 0; i < HIDDEN; i = i + 1)
		hidden[i] = ~(uintptr_t)calloc(1, 300);
}

KEEP static void keep_live(void)
{
	for (volatile int i = 0; i < LIVE; i = i + 1)
		live[i] = calloc(1, (size_t)(16 + i % 100));
}

KEEP static void run(void)
{
	leak_plain();
	leak_lists();
	leak_rings();
	keep_inner();
	keep_hidden();
	keep_live();
	use(live);
	use(inner);
	use(hidden);
}

int main(int count, char **arguments)
{
	churn(count > 1 ? strtoul(arguments[1], NULL, 10) : 0);
	programs_run(run);
	return 0;
}
