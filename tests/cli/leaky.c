/*
 * leaky clean|leak [STATUS|killed]: prints its first argument, leaks or not, and ends as told. Its own suppressions are in $LEAKY_RULES.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 100, BYTES = 1000 };

__attribute__((noinline)) static void lose_blocks(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		void *volatile block = malloc(BYTES);

		memset(block, 1, BYTES);
		block = NULL;
	}
}

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return getenv("LEAKY_RULES");
}

__attribute__((noinline)) static void scrub_stack(void)
{
	volatile char dead[8192];

	memset((char *)dead, 0, sizeof(dead));
}

int main(int argc, char **argv)
{
	puts(argv[1]);
	fflush(stdout);
	if (!strcmp(argv[1], "leak"))
		lose_blocks();
	scrub_stack();
	if (argc > 2 && !strcmp(argv[2], "killed"))
		raise(SIGKILL);
	return argc > 2 ? atoi(argv[2]) : 0;
}
