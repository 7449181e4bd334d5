/*
 * The names --allocators understands, and where the libraries behind them are.
 */
#include "cli/ab.h"
#include "cli/command.h"
#include "cli/elf_file.h"
#include "cli/launch.h"
#include "cli/option_table.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USUAL_ALLOCATORS "glibc,jemalloc,mimalloc,tcmalloc,gasket:fast,gasket:seal"

struct known_library {
	const char *name;
	const char *package; // Debian's
	const char *files[3];
};

static const struct known_library known_libraries[] = {
	{"jemalloc", "libjemalloc2", {"libjemalloc.so.2"}},
	{"mimalloc", "libmimalloc2.0", {"libmimalloc.so.3", "libmimalloc.so.2"}},
	{"tcmalloc", "libtcmalloc-minimal4", {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"}},
	{0},
};

static const char *const folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/usr/lib64", "/usr/lib", "/usr/local/lib", NULL};

static char *find_file(const struct known_library *known)
{
	char path[PATH_MAX];

	for (const char *const *file = known->files; *file; file++) {
		for (const char *const *folder = folders; *folder; folder++) {
			snprintf(path, sizeof(path), "%s/%s", *folder, *file);
			if (!access(path, R_OK))
				return strdup(path);
		}
	}
	return NULL;
}

static const struct known_library *find_known(const char *name)
{
	for (const struct known_library *known = known_libraries; known->name; known++) {
		if (!strcmp(known->name, name))
			return known;
	}
	return NULL;
}

/* gasket, or gasket:MODE */
static void set_gasket(struct allocator *allocator, const char *word)
{
	allocator->library = strdup(launch_find_library());
	if (word[6] != ':')
		return;
	if (asprintf(&allocator->options, "mode=%s", word + 7) < 0)
		fail(EXIT_FAILED, "no memory");
	options_demand_valid("ab", allocator->options);
}

/* True if the program is linked with a malloc of its own: libc's would not be used. */
static bool brings_malloc(const char *path)
{
	static const char *const libraries[] = {
		"libjemalloc.so", "libmimalloc.so", "libtcmalloc", "libhoard.so", NULL};
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct elf_file file;
	bool brings = false;

	if (fd >= 0 && elf_map(&file, fd)) {
		brings = elf_needed(&file, libraries);
		elf_unmap(&file);
	}
	if (fd >= 0)
		close(fd);
	return brings;
}

/* False: it is known and not installed. */
static bool set_allocator(
	struct allocator *allocator, const char *word, bool quiet, const char *program)
{
	const struct known_library *known = find_known(word);

	allocator->name = strdup(word);
	if (known) {
		allocator->library = find_file(known);
		if (!allocator->library && !quiet)
			warn_line("ab: %s is left out: %s is not installed", word, known->package);
		return allocator->library;
	}
	if (!strncmp(word, "gasket", 6) && (!word[6] || word[6] == ':')) {
		set_gasket(allocator, word);
	} else if (strchr(word, '/')) {
		allocator->library = realpath(word, NULL);
		if (!allocator->library)
			fail(EXIT_FAILED, "%s: not found", word);
	} else if (!strcmp(word, "glibc")) {
		// Preloaded, libc comes before what the program is linked with.
		allocator->library = brings_malloc(program) ? strdup("libc.so.6") : NULL;
	} else {
		fail(EXIT_USAGE, "ab: unknown allocator '%s'; see gasket help ab", word);
	}
	return true;
}

void comparison_add_allocators(struct comparison *comparison, const char *list, const char *path)
{
	char *copy = strdup(list ? list : USUAL_ALLOCATORS), *rest = copy, *word;

	while ((word = strsep(&rest, ","))) {
		struct contestant *contestant = &comparison->contestants[comparison->count];

		if (!*word)
			continue;
		if (comparison->count == CONTESTANTS_MAX)
			fail(EXIT_USAGE, "ab: more than %d allocators", CONTESTANTS_MAX);
		if (set_allocator(&contestant->allocator, word, !list, path))
			comparison->count++;
	}
	free(copy);
	if (comparison->count == 0)
		fail(EXIT_USAGE, "ab: no allocator");
	for (size_t i = 0; i < comparison->count; i++) {
		comparison->contestants[i].runs = calloc(comparison->rounds, sizeof(struct run));
		if (!comparison->contestants[i].runs)
			fail(EXIT_FAILED, "no memory");
	}
}
