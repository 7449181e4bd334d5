/*
 * The canary is this command itself, started anew with the library preloaded. What it leaks is asked for twice: by a request to the live process, and
 * in the findings it writes at its end.
 */
#include "cli/canary.h"

#include "cli/command.h"
#include "cli/hunt.h"
#include "cli/launch.h"
#include "cli/live_findings.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CANARY_BYTES = 1000,
	PAGE_TRIES = 250,
	TRY_NS = 20000000,
	ANSWER_SECONDS = 20,
	WAKE_MS = 20
};

/* ---- its life ---- */

void canary_lose_blocks(void);
void canary_scrub_stack(void);

__attribute__((noinline)) void canary_lose_blocks(void)
{
	for (int i = 0; i < CANARY_BLOCKS; i++) {
		void *volatile block = malloc(CANARY_BYTES);

		if (block)
			memset(block, i, CANARY_BYTES);
		block = NULL;
	}
}

__attribute__((noinline)) void canary_scrub_stack(void)
{
	volatile char dead[8192];

	memset((char *)dead, 0, sizeof(dead));
}

/* Waits in short calls: without a collector thread, which small programs have not yet, it is in them that requests are seen. */
static bool input_has_ended(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, WAKE_MS) != 0;
}

int canary_main(void)
{
	char byte = '!';

	canary_lose_blocks();
	canary_scrub_stack();
	if (write(STDOUT_FILENO, &byte, 1) != 1)
		return EXIT_FAILED;
	while (!input_has_ended())
		;
	return 0;
}

/* ---- what is found of it ---- */

static void write_site(struct canary *canary, const struct report_finding *finding)
{
	FILE *text = fmemopen(canary->site, sizeof(canary->site), "w");

	if (!text)
		return;
	hunt_print_site(text, finding);
	fclose(text);
	canary->site[sizeof(canary->site) - 1] = 0;
	canary->is_named = strstr(canary->site, "canary_lose_blocks") != NULL;
}

/* Releases the findings; returns the number of blocks leaked. */
static uint64_t look_into(struct canary *canary, struct findings *findings)
{
	struct report_set set;
	uint64_t blocks;

	report_set_init(&set, NULL);
	report_set_add(&set, findings);
	report_set_sort(&set);
	blocks = report_leaked(&set.reports[0]).blocks;
	if (set.reports[0].finding_count > 0)
		write_site(canary, &set.reports[0].findings[0]);
	report_set_finish(&set);
	findings_release(findings);
	return blocks;
}

static void ask_live(struct canary *canary, pid_t pid)
{
	const struct timespec pause = {0, TRY_NS};
	struct process process;
	struct findings findings;

	canary->result = process_open(&process, pid, true);
	for (int i = 0; i < PAGE_TRIES && canary->result != PROCESS_FOUND; i++) {
		process_close(&process);
		nanosleep(&pause, NULL);
		canary->result = process_open(&process, pid, true);
	}
	if (canary->result == PROCESS_FOUND && live_findings_take(&process, false, ANSWER_SECONDS,
						       &findings) == LIVE_FINDINGS_TAKEN) {
		canary->has_page = true;
		canary->live_blocks = look_into(canary, &findings);
	}
	process_close(&process);
	if (process_open(&process, pid, false) == PROCESS_FOUND)
		canary->page = process.page;
	process_close(&process);
}

static void ask_dead(struct canary *canary, const char *path)
{
	struct findings findings;

	if (!access(path, F_OK) && findings_load_path(&findings, path))
		canary->exit_blocks = look_into(canary, &findings);
	unlink(path);
}

static void become(const char *library, const char *options, int in, int out)
{
	static char *words[] = {"gasket", "doctor", "--canary", NULL};

	unsetenv("LD_PRELOAD");
	unsetenv("GASKET_OPTIONS");
	launch_preload(library);
	launch_add_options(options);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	launch_exec("/proc/self/exe", words);
}

bool canary_run(const char *collector, const char *directory, struct canary *ret_canary)
{
	const char *library = launch_find_library();
	char options[512], path[256], byte;
	int in[2], out[2], status;
	bool is_up;
	pid_t pid;

	*ret_canary = (struct canary){0};
	snprintf(path, sizeof(path), "%s/canary.findings", directory);
	snprintf(options, sizeof(options),
		"mode=watch:stacks=all:collector=%s:report_format=findings:report=%s", collector,
		path);
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return false;
	pid = fork();
	if (pid == 0)
		become(library, options, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	is_up = pid > 0 && read(out[0], &byte, 1) == 1;
	if (is_up)
		ask_live(ret_canary, pid);
	close(in[1]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	close(out[0]);
	if (is_up)
		ask_dead(ret_canary, path);
	return is_up;
}
