/*
 * so CHURN: a library that the program is linked with loses 500 records of 16 bytes, each with a string of 16: 1000 blocks, 16000 bytes.
 * so CHURN LIBRARY: the same of one that is opened for it and closed again (sodl).
 */
#include "tests/leaks/programs.h"

#include <dlfcn.h>

enum { RECORDS = 500 };

void library_add(const char *name);

static void (*add)(const char *name);

KEEP static void add_records(void)
{
	TIMES(RECORDS)
	add("fifteen letters");
}

int main(int count, char **arguments)
{
	void *library = NULL;

	churn(count > 1 ? strtoul(arguments[1], NULL, 10) : 0);
	add = library_add;
	if (count > 2) {
		library = dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL);
		add = library ? (void (*)(const char *))dlsym(library, "library_add") : NULL;
		if (!add)
			return 1;
	}
	programs_run(add_records);
	add = NULL;
	if (library)
		dlclose(library);
	programs_wipe();
	return 0;
}
