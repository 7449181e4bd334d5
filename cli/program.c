/*
 * The same search as execvp's, then the header of the file: ELF class, machine, the loader it asks
 * for; for a script the interpreter's. A file that may be executed but not read is left to the
 * kernel.
 */
#include "cli/program.h"

#include "cli/command.h"
#include "cli/elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#define OWN_MACHINE_NAME "x86-64"
#else
enum { OWN_MACHINE = EM_AARCH64 };
#define OWN_MACHINE_NAME "aarch64"
#endif

enum { HEAD_BYTES = 512, SCRIPT_DEPTH_MAX = 4 };

/* The program as typed, and the file looked at: they differ for scripts and names found in PATH. */
struct subject {
	const char *name;
	const char *path;
	char via[256]; // "" or "its interpreter PATH is "
};

static void refuse(const struct subject *subject, const char *why)
{
	fail(EXIT_CANNOT_RUN, "%s: %s%s", subject->name, subject->via, why);
}

static bool is_executable_file(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, X_OK);
}

/* Looks through PATH; NULL and *ret_found_other: something of the name is there but cannot be
 * executed. */
static char *search_path(const char *name, bool *ret_found_other)
{
	const char *directories = getenv("PATH");
	char *copy = strdup(directories ? directories : "/bin:/usr/bin"), *rest = copy, *directory,
	     *path = NULL;

	*ret_found_other = false;
	while (!path && (directory = strsep(&rest, ":"))) {
		if (asprintf(&path, "%s/%s", *directory ? directory : ".", name) < 0)
			abort();
		if (is_executable_file(path))
			break;
		*ret_found_other |= !access(path, F_OK);
		free(path);
		path = NULL;
	}
	free(copy);
	return path;
}

static char *find_program(const char *name)
{
	struct stat status;
	bool found_other = false;
	char *path;

	if (!*name)
		fail(EXIT_NOT_FOUND, "'': not found");
	if (strchr(name, '/')) {
		if (stat(name, &status))
			fail(errno == EACCES ? EXIT_CANNOT_RUN : EXIT_NOT_FOUND, "%s: %s", name,
				errno == EACCES ? "not permitted" : "not found");
		if (S_ISDIR(status.st_mode))
			fail(EXIT_CANNOT_RUN, "%s: is a directory", name);
		if (!is_executable_file(name))
			fail(EXIT_CANNOT_RUN, "%s: not executable", name);
		return strdup(name);
	}
	path = search_path(name, &found_other);
	if (!path)
		fail(found_other ? EXIT_CANNOT_RUN : EXIT_NOT_FOUND, "%s: %s", name,
			found_other ? "not executable" : "not found");
	return path;
}

/* True when the kernel will start the file with privileges the caller lacks: the loader then
 * ignores LD_PRELOAD. */
static bool gains_privileges(int fd)
{
	struct statvfs mount;
	struct stat status;
	char capabilities[64];

	if (fstat(fd, &status) || (!fstatvfs(fd, &mount) && (mount.f_flag & ST_NOSUID)))
		return false;
	if ((status.st_mode & S_ISUID) && status.st_uid != getuid())
		return true;
	if ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getgid())
		return true;
	return getuid() != 0 &&
	       fgetxattr(fd, "security.capability", capabilities, sizeof(capabilities)) > 0;
}

static bool is_a_loader(const char *path)
{
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	return !strncmp(name, "ld-linux", 8) || !strncmp(name, "ld.so", 5);
}

static void demand_loadable(const struct subject *subject, const struct elf_file *file)
{
	static const char *const sanitizers[] = {"libasan.so", "libtsan.so", "liblsan.so", NULL};
	const char *loader;

	if (file->header->e_ident[EI_CLASS] != ELFCLASS64)
		refuse(subject, "a 32-bit program; Gasket is 64-bit");
	if (file->header->e_machine != OWN_MACHINE)
		refuse(subject, "made for another machine than " OWN_MACHINE_NAME);
	loader = elf_loader(file);
	if (!loader)
		refuse(subject, "a damaged ELF file");
	if (!*loader && !is_a_loader(subject->path))
		refuse(subject, "statically linked; nothing can be preloaded into it");
	if (strstr(loader, "ld-musl"))
		refuse(subject, "made for musl; Gasket needs glibc");
	if (elf_needed(file, sanitizers))
		refuse(subject, "built with a sanitizer, which brings a malloc of its own");
}

static void demand_preloadable(struct subject *subject, int depth);

/* `line` is what follows "#!". The interpreter takes the place of the program; /usr/bin/env stands
 * for what it will start. */
static void demand_interpreter(const struct subject *script, char *line, int depth)
{
	struct subject interpreter = {.name = script->name};
	char *rest = line, *path, *argument, *found = NULL;
	bool ignored;

	line[strcspn(line, "\n")] = 0;
	rest += strspn(rest, " \t");
	path = strsep(&rest, " \t");
	argument = rest ? rest + strspn(rest, " \t") : NULL;
	if (argument)
		argument[strcspn(argument, " \t")] = 0;
	if (access(path, F_OK))
		fail(EXIT_NOT_FOUND, "%s: its interpreter %s is not found", script->name, path);
	interpreter.path = path;
	if (argument && *argument && *argument != '-' && !strchr(argument, '=') &&
		!strcmp(path, "/usr/bin/env")) {
		found = search_path(argument, &ignored);
		interpreter.path = found ? found : path;
	}
	snprintf(interpreter.via, sizeof(interpreter.via), "its interpreter %s is ",
		interpreter.path);
	if (depth < SCRIPT_DEPTH_MAX)
		demand_preloadable(&interpreter, depth + 1);
	free(found);
}

static void demand_preloadable(struct subject *subject, int depth)
{
	int fd = open(subject->path, O_RDONLY | O_CLOEXEC);
	char head[HEAD_BYTES + 1] = {0};
	struct elf_file file;

	if (fd < 0)
		return;
	if (elf_map(&file, fd)) {
		if (gains_privileges(fd))
			refuse(subject,
				"setuid, setgid or has capabilities; the loader preloads nothing into it");
		demand_loadable(subject, &file);
		elf_unmap(&file);
	} else if (read(fd, head, HEAD_BYTES) > 2 && !memcmp(head, "#!", 2)) {
		demand_interpreter(subject, head + 2, depth);
	}
	close(fd);
}

char *program_demand_preloadable(const char *name)
{
	char *path = find_program(name);
	struct subject subject = {.name = name, .path = path};

	demand_preloadable(&subject, 0);
	return path;
}
