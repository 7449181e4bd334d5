/*
 * The library of so: it keeps no list of what it is given.
 */
#include "tests/leaks/shape.h"

#include <stdlib.h>
#include <string.h>

struct record {
	char *name;
	long number;
};

__attribute__((visibility("default"))) void library_add(const char *name);

KEEP static char *copy_name(const char *name)
{
	char *copy = malloc(16);

	return strcpy(copy, name);
}

KEEP static struct record *make_record(void)
{
	return calloc(1, sizeof(struct record));
}

KEEP void library_add(const char *name)
{
	struct record *record = make_record();

	record->name = copy_name(name);
	use(record);
}
