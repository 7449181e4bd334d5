/* A library with thread-local storage, loaded at run time: the loader allocates it at the first use in each thread. */
#include <stdint.h>

void *library_word(void);

static __thread uintptr_t words[100] = {1};

void *library_word(void)
{
	return &words[50];
}
