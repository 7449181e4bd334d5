/*
 * A plugin with a list in its own data.
 */
#include "tests/leaks/shape.h"

#include <stdlib.h>

struct state {
	struct state *next;
	char text[120];
};

static struct state *states;

__attribute__((visibility("default"))) void state_start(int count);
__attribute__((visibility("default"))) void state_stop(void);
__attribute__((visibility("default"))) void *state_create(size_t bytes);

KEEP void state_start(int count)
{
	TIMES(count)
	{
		struct state *state = calloc(1, sizeof(*state));

		state->next = states;
		states = state;
	}
}

KEEP void state_stop(void)
{
	while (states) {
		struct state *next = states->next;

		free(states);
		states = next;
	}
}

KEEP void *state_create(size_t bytes)
{
	void *block = calloc(1, bytes);

	use(block);
	return block;
}
