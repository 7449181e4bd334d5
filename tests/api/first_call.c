/*
 * The first call into the allocator is none of malloc's, and comes before any constructor: from .preinit_array, chosen by the
 * first argument. Says "ok" when all is well afterwards.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void first_call(int count, char **arguments, char **environment)
{
	static char foreign[64];
	const char *name = count > 1 ? arguments[1] : "";
	void *block = NULL;

	(void)environment;
	if (!strcmp(name, "free"))
		free(NULL);
	else if (!strcmp(name, "free_foreign"))
		free(foreign + 16);
	else if (!strcmp(name, "realloc"))
		free(realloc(NULL, 10));
	else if (!strcmp(name, "realloc_zero"))
		free(realloc(NULL, 0));
	else if (!strcmp(name, "realloc_foreign"))
		free(realloc(foreign, 100));
	else if (!strcmp(name, "usable_size"))
		malloc_usable_size(NULL);
	else if (!strcmp(name, "usable_size_foreign"))
		malloc_usable_size(foreign + 16);
	else if (!strcmp(name, "calloc"))
		free(calloc(1, 100000));
	else if (!strcmp(name, "posix_memalign"))
		free(posix_memalign(&block, 64, 100) ? NULL : block);
	else if (!strcmp(name, "memalign"))
		free(memalign(4096, 100));
	else if (!strcmp(name, "mallopt"))
		mallopt(M_TRIM_THRESHOLD, 1000);
	else if (!strcmp(name, "mallinfo2"))
		mallinfo2();
	else if (!strcmp(name, "malloc_trim"))
		malloc_trim(0);
	else
		abort();
}

__attribute__((section(".preinit_array"), used)) static void (*preinit)(
	int, char **, char **) = first_call;

int main(void)
{
	char *block = malloc(100);

	memset(block, 1, 100);
	free(block);
	puts("ok");
	return 0;
}
