/*
 * A small service that says its process id and works until its standard input is closed, 100 times a second. Of what it holds, all of it reachable:
 *
 *	table_load	8 MiB, made at the start, which stay
 *	session_put	1 MiB a second more, as long as it runs ("leaky" is the first argument)
 *	cache_put	a cache of 4 MiB, full after a second, whose entries are replaced from then on
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ENTRY_BYTES = 1000,
	TICK_MS = 10,
	SESSIONS_PER_TICK = 10,
	CACHE_ENTRIES = 4000,
	CACHED_PER_TICK = 40
};

struct session {
	struct session *next;
	char text[ENTRY_BYTES];
};

static struct session *sessions;
static char *cache[CACHE_ENTRIES];
static unsigned cached;
char *table[8192]; // not static: nobody reads it

__attribute__((noinline)) static void session_put(void)
{
	struct session *session = malloc(sizeof(*session));

	memset(session->text, 1, sizeof(session->text));
	session->next = sessions;
	sessions = session;
}

__attribute__((noinline)) static void cache_put(void)
{
	char **entry = &cache[cached++ % CACHE_ENTRIES];

	free(*entry);
	*entry = malloc(ENTRY_BYTES);
	memset(*entry, 2, ENTRY_BYTES);
}

__attribute__((noinline)) static void table_load(void)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		table[i] = malloc(ENTRY_BYTES);
		memset(table[i], 3, ENTRY_BYTES);
	}
}

/* These are leaked: no part of the live heap. */
__attribute__((noinline)) static void lose(void)
{
	for (int i = 0; i < 9000; i++) {
		char *volatile lost = malloc(ENTRY_BYTES);

		memset(lost, 4, ENTRY_BYTES);
		lost = NULL;
	}
}

int main(int argc, char **argv)
{
	int is_leaky = argc > 1 && !strcmp(argv[1], "leaky");
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	lose();
	table_load();
	printf("%d\n", getpid());
	fflush(stdout);
	while (poll(&input, 1, TICK_MS) == 0) {
		for (int i = 0; is_leaky && i < SESSIONS_PER_TICK; i++)
			session_put();
		for (int i = 0; i < CACHED_PER_TICK; i++)
			cache_put();
	}
	return 0;
}
