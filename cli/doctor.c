/*
 * gasket doctor: makes a leak and finds it, then says what is in the way. One line for each thing: ok; warn, something works less well; fail, leaks
 * cannot be found.
 */
#include "cli/canary.h"
#include "cli/command.h"
#include "cli/figures.h"
#include "cli/interrupt.h"
#include "cli/launch.h"
#include "cli/program.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum level { OK, WARN, FAIL };

static enum level worst;

__attribute__((format(printf, 3, 4))) static void say(
	enum level level, const char *what, const char *format, ...)
{
	static const char *const words[] = {"ok", "warn", "fail"};
	va_list arguments;

	if (level > worst)
		worst = level;
	printf("%-5s %-11s ", words[level], what);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

/* ---- the machine ---- */

/* A line of /proc/self/status as a number, or -1. */
static long status_number(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long number = -1;
	size_t length = strlen(name);

	while (file && number < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, length) && line[length] == ':')
			number = strtol(line + length + 1, NULL, 10);
	}
	if (file)
		fclose(file);
	return number;
}

static void look_at_proc(void)
{
	if (access("/proc/self/maps", R_OK))
		say(FAIL, "proc",
			"/proc/self/maps cannot be read: no cycle comes to a verdict; mount /proc");
	else if (access("/proc/self/pagemap", R_OK))
		say(WARN, "proc",
			"/proc/self/pagemap cannot be read: pauses are longer, and no cycle runs beside the program");
	else
		say(OK, "proc", "/proc can be read");
}

static void look_at_seccomp(void)
{
	long mode = status_number("Seccomp");

	if (mode > 0)
		say(WARN, "seccomp",
			"a filter is in force: no collector until the program has made a thread or a child of its own");
	else if (mode == 0)
		say(OK, "seccomp", "no filter");
}

static void look_at_ptrace(void)
{
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope;

	if (file && fscanf(file, "%d", &scope) == 1)
		say(OK, "ptrace", "yama's ptrace_scope is %d; it does not matter here", scope);
	else
		say(OK, "ptrace", "not needed");
	if (file)
		fclose(file);
}

static void look_at_limits(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY)
		say(WARN, "ulimit -v",
			"address space is limited: nothing is reserved, and the heap is found more slowly");
}

/* In it the processes of gasket leaks leave their findings. */
static bool look_at_directory(char *path, size_t capacity)
{
	const char *place = getenv("TMPDIR");

	if (!place || *place != '/' || strpbrk(place, ":,%") || strlen(place) > capacity / 2)
		place = "/tmp";
	snprintf(path, capacity, "%s/gasket-doctor-XXXXXX", place);
	if (mkdtemp(path)) {
		say(OK, "directory", "files can be made in %s", place);
		return true;
	}
	say(FAIL, "directory", "no file can be made in %s (%s): set TMPDIR", place,
		strerror(errno));
	return false;
}

/* ---- the canary ---- */

static void tell_missing(const struct canary *canary)
{
	if (canary->page.aside != STATS_ASIDE_NO)
		say(FAIL, "canary", "not found: Gasket stands aside: %s",
			word_of(STATS_ASIDE_WORDS, canary->page.aside));
	else if (canary->page.cycles_without_verdict > 0)
		say(FAIL, "canary", "not found: no verdict: %s",
			word_of(STATS_NO_VERDICT_WORDS, canary->page.no_verdict));
	else
		say(FAIL, "canary", "not found, neither live nor at its end");
}

static void tell_canary(const struct canary *canary)
{
	if (canary->live_blocks < CANARY_BLOCKS && canary->exit_blocks < CANARY_BLOCKS) {
		tell_missing(canary);
		return;
	}
	if (!canary->has_page)
		say(WARN, "live",
			"it left no page that can be opened: leaks PID, watch, status and set reach nobody; set XDG_RUNTIME_DIR to a directory of this user's");
	else if (canary->live_blocks < CANARY_BLOCKS)
		say(WARN, "live", "found %" PRIu64 " of %d blocks while it ran",
			canary->live_blocks, CANARY_BLOCKS);
	else
		say(OK, "live", "%" PRIu64 " blocks found while it ran, with a pause of %.1f ms",
			canary->live_blocks, ms_of(canary->page.last_pause_ns));
	if (canary->exit_blocks < CANARY_BLOCKS)
		say(WARN, "exit", "found %" PRIu64 " of %d blocks at its end", canary->exit_blocks,
			CANARY_BLOCKS);
	else
		say(OK, "exit", "%" PRIu64 " blocks found at its end", canary->exit_blocks);
	if (canary->is_named)
		say(OK, "names", "allocated by %s", canary->site);
	else
		say(WARN, "names", "not named (%s): stacks or symbols are wanting",
			*canary->site ? canary->site : "no stack");
}

/* Tiers that cannot be had are no fault: another one is used. */
static void look_at_tiers(const char *directory)
{
	struct canary canary;

	if (interrupt_signal())
		return;
	if (canary_run("concurrent", directory, &canary) && canary.page.concurrent_cycles > 0)
		say(OK, "concurrent", "large heaps are marked beside the program");
	else
		say(WARN, "concurrent",
			"heaps cannot be marked beside the program (userfaultfd and Linux 6.7): a copy of the process marks, or threads stand still");
	if (interrupt_signal())
		return;
	if (canary_run("snapshot", directory, &canary) && canary.page.snapshot_cycles > 0)
		say(OK, "snapshot", "a copy of the process can mark");
	else
		say(WARN, "snapshot", "no copy of the process can mark");
}

static void look_at_canary(const char *directory)
{
	struct canary canary;
	bool is_up = canary_run("auto", directory, &canary);

	if (interrupt_signal())
		return;
	if (!is_up) {
		say(FAIL, "canary", "a program under Gasket does not start");
		return;
	}
	tell_canary(&canary);
	if (canary.has_page)
		look_at_tiers(directory);
}

/* ---- the program ---- */

/* The line program_demand_preloadable() ends a process with, or "". */
static void ask_preloadable(const char *name, char *why, size_t capacity)
{
	int pipe_fds[2], status;
	size_t length = 0;
	ssize_t bytes;
	pid_t pid;

	*why = 0;
	if (pipe2(pipe_fds, O_CLOEXEC))
		return;
	command_flush();
	pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], STDERR_FILENO);
		program_demand_preloadable(name);
		_exit(0);
	}
	close(pipe_fds[1]);
	while ((bytes = read(pipe_fds[0], why + length, capacity - 1 - length)) > 0)
		length += (size_t)bytes;
	why[length] = 0;
	why[strcspn(why, "\n")] = 0;
	close(pipe_fds[0]);
	waitpid(pid, &status, 0);
}

static bool has_section(Elf *elf, const char *wanted)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return false;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name = gelf_getshdr(section, &header)
					   ? elf_strptr(elf, names, header.sh_name)
					   : NULL;

		if (name && !strcmp(name, wanted))
			return true;
	}
	return false;
}

static bool has_separate_file(const unsigned char *id, size_t bytes)
{
	char path[256];
	int length = snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%02x/", id[0]);

	for (size_t i = 1; i < bytes && (size_t)length + 16 < sizeof(path); i++)
		length += snprintf(path + length, sizeof(path) - (size_t)length, "%02x", id[i]);
	snprintf(path + length, sizeof(path) - (size_t)length, ".debug");
	return !access(path, R_OK);
}

static void look_at_names(Elf *elf)
{
	const void *id;
	ssize_t bytes = dwelf_elf_gnu_build_id(elf, &id);

	if (bytes > 0)
		say(OK, "build-id", "%zd bytes: its files are known again on other machines",
			bytes);
	else
		say(WARN, "build-id",
			"none: names are looked up by path alone (gcc -Wl,--build-id)");
	if (has_section(elf, ".debug_info") || (bytes > 0 && has_separate_file(id, (size_t)bytes)))
		say(OK, "lines", "debug data was found: reports have files and lines");
	else if (has_section(elf, ".symtab"))
		say(WARN, "lines",
			"no debug data: functions without files and lines (gcc -g, or its package of debug symbols)");
	else
		say(WARN, "lines", "stripped: only functions it exports have names");
	if (!has_section(elf, ".eh_frame"))
		say(WARN, "stacks", "no .eh_frame: stacks need frame pointers");
}

static void look_at_program(const char *name)
{
	char why[512];
	const char *path;
	int fd;
	Elf *elf;

	ask_preloadable(name, why, sizeof(why));
	if (*why) {
		say(FAIL, "program", "%s", strncmp(why, "gasket: ", 8) ? why : why + 8);
		return;
	}
	path = program_demand_preloadable(name);
	say(OK, "program", "%s can be run under Gasket", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	elf_version(EV_CURRENT);
	elf = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (elf && elf_kind(elf) == ELF_K_ELF)
		look_at_names(elf);
	elf_end(elf);
	if (fd >= 0)
		close(fd);
}

static void look_at_machine(void)
{
	struct utsname system;
	char directory[256];

	uname(&system);
	say(OK, "kernel", "Linux %s", system.release);
	look_at_proc();
	look_at_seccomp();
	look_at_ptrace();
	look_at_limits();
	interrupt_expect(); // from now on there is something to remove
	if (look_at_directory(directory, sizeof(directory))) {
		look_at_canary(directory);
		rmdir(directory);
	}
	interrupt_end();
	say(OK, "stacks",
		"gasket leaks -- PROGRAM keeps all; gasket run samples one in 512 KiB, with -o stacks=all it keeps all");
}

int doctor_command(int argc, char **argv)
{
	const char *argument;
	int first = 1;

	if (argc == 2 && !strcmp(argv[1], "--canary"))
		return canary_main();
	command_next_switch(argc, argv, &argument, &first);
	setvbuf(stdout, NULL, _IOLBF, 0);
	look_at_machine();
	if (first < argc)
		look_at_program(argv[first]);
	return worst == FAIL ? EXIT_NOT_CHECKED : 0;
}
