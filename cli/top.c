/*
 * gasket top: the figures of one process, or a line for each of several, again and again. With a terminal a screen is drawn (ncurses); with --once or --json one
 * text or object each time.
 */
#include "cli/command.h"
#include "cli/figures.h"
#include "cli/interrupt.h"

#include <curses.h>
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	LABEL_WIDTH = 12,
	VALUE_WIDTH = 34,
	HISTORY = 512,  // samples
	RATE_LOOKS = 5, // rates are means over so many
	PROCESSES_MAX = 256,
	DELAY_MS_MIN = 100,
	DELAY_MS_MAX = 3600 * 1000,
};

struct sample {
	struct process process;
	enum process_result result;
	double seconds; // when
};

struct watched {
	pid_t pid;
	struct sample looks[RATE_LOOKS + 1]; // a ring; the newest is that of number samples - 1
	uint64_t history[HISTORY][3];        // heap, live, hinted; a ring
	size_t samples;
};

static struct watched watched[PROCESSES_MAX];
static size_t watched_count;
static long delay_ms = 1000;

static double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- samples ---- */

static struct sample *look(struct watched *one, size_t number)
{
	return &one->looks[number % (RATE_LOOKS + 1)];
}

static const struct sample *newest(const struct watched *one)
{
	return &one->looks[(one->samples - 1) % (RATE_LOOKS + 1)];
}

static const struct sample *oldest(const struct watched *one)
{
	size_t back = one->samples - 1 < RATE_LOOKS ? one->samples - 1 : RATE_LOOKS;

	return &one->looks[(one->samples - 1 - back) % (RATE_LOOKS + 1)];
}

static void take(struct watched *one)
{
	uint64_t *values = one->history[one->samples % HISTORY];
	struct sample *sample = look(one, one->samples++);

	sample->result = process_open(&sample->process, one->pid, false);
	process_close(&sample->process);
	sample->seconds = seconds_now();
	values[0] = sample->process.page.heap_bytes;
	values[1] = sample->process.page.live_bytes;
	values[2] = sample->process.page.hinted_bytes;
}

static bool is_alive(const struct watched *one)
{
	enum process_result result = newest(one)->result;

	return result == PROCESS_FOUND || result == PROCESS_WITHOUT_PAGE;
}

/* How many are there still? */
static size_t take_all(void)
{
	size_t alive = 0;

	for (size_t i = 0; i < watched_count; i++) {
		take(&watched[i]);
		alive += is_alive(&watched[i]);
	}
	return alive;
}

/* Of a figure that only grows, a second. */
static double rate(const struct watched *one, uint64_t now, uint64_t before)
{
	double passed = newest(one)->seconds - oldest(one)->seconds;

	return oldest(one)->result == PROCESS_FOUND && passed > 0 && now >= before
		       ? (double)(now - before) / passed
		       : 0;
}

#define RATE(one, figure) \
	rate(one, newest(one)->process.page.figure, oldest(one)->process.page.figure)

/* ---- lines of text, for screen and --once ---- */

typedef void (*print_line)(const char *text);

static void line(print_line print, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void line(print_line print, const char *label, const char *format, ...)
{
	char text[256];
	int used = snprintf(text, sizeof(text), "%-*s", LABEL_WIDTH, label);
	va_list list;

	va_start(list, format);
	vsnprintf(text + used, sizeof(text) - (size_t)used, format, list);
	va_end(list);
	print(text);
}

static void describe(const struct watched *one, print_line print)
{
	const struct stats_page *page = &newest(one)->process.page;

	line(print, "process", "%d (%s)", one->pid, newest(one)->process.name);
	if (newest(one)->result != PROCESS_FOUND) {
		line(print, "state", "%s",
			newest(one)->result == PROCESS_WITHOUT_PAGE ? "no page yet" : "gone");
		return;
	}
	line(print, "state", "%s, %s (free=%s leaks=%s collector=%s), tier %s",
		page->aside ? word_of(STATS_ASIDE_WORDS, page->aside) : "on",
		option_word("mode", page->mode), option_word("free", page->free),
		option_word("leaks", page->leaks), option_word("collector", page->collector),
		word_of(STATS_TIER_WORDS, page->tier));
	line(print, "heap", "%s", size_of(page->heap_bytes).text);
	line(print, "live", "%s", size_of(page->live_bytes).text);
	line(print, "hinted", "%s", size_of(page->hinted_bytes).text);
	line(print, "leaked", "%s in %" PRIu64 " blocks", size_of(page->leaked_bytes).text,
		page->leaked_blocks);
	line(print, "reclaimed", "%s in %" PRIu64 " blocks, %s/s",
		size_of(page->reclaimed_bytes).text, page->reclaimed_blocks,
		size_of((uint64_t)RATE(one, reclaimed_bytes)).text);
	line(print, "reused", "%" PRIu64 " freed blocks, %.0f/s; %" PRIu64 " still referred to",
		page->reused_blocks, RATE(one, reused_blocks), page->dangling_blocks);
	line(print, "cycles", "%" PRIu64 ", %.1f/s; %" PRIu64 " with a verdict; threads %" PRIu64,
		page->cycles, RATE(one, cycles), page->cycles_with_verdict, page->threads);
	if (page->cycles_without_verdict)
		line(print, "no verdict", "%" PRIu64 " cycles in a row: %s",
			page->cycles_without_verdict,
			word_of(STATS_NO_VERDICT_WORDS, page->no_verdict));
	line(print, "pauses",
		"last %.3f ms, of it stopping %.3f ms; longest %.3f ms; %.2f %% of the time",
		ms_of(page->last_pause_ns), ms_of(page->stop_ns), ms_of(page->max_pause_ns),
		RATE(one, total_pause_ns) / 1e7);
	line(print, "waits", "%" PRIu64 " for a cycle to end; longest %.3f ms; %.2f %% of the time",
		page->waits, ms_of(page->max_wait_ns), RATE(one, total_wait_ns) / 1e7);
	line(print, "misuse",
		"double free %" PRIu64 ", foreign free %" PRIu64 ", interior free %" PRIu64,
		page->double_frees, page->foreign_frees, page->interior_frees);
}

static void print_table_head(print_line print)
{
	char text[256];

	snprintf(text, sizeof(text), "%7s %-15s %-11s %10s %10s %10s %10s %8s %9s %9s", "PID",
		"NAME", "TIER", "HEAP", "LIVE", "HINTED", "LEAKED", "CYCLES/s", "PAUSE ms",
		"LONGEST");
	print(text);
}

static void print_table_row(const struct watched *one, print_line print)
{
	const struct stats_page *page = &newest(one)->process.page;
	char text[256];

	if (newest(one)->result == PROCESS_FOUND)
		snprintf(text, sizeof(text),
			"%7d %-15.15s %-11.11s %10s %10s %10s %10s %8.1f %9.3f %9.3f", one->pid,
			newest(one)->process.name,
			page->aside ? "aside" : word_of(STATS_TIER_WORDS, page->tier),
			size_of(page->heap_bytes).text, size_of(page->live_bytes).text,
			size_of(page->hinted_bytes).text, size_of(page->leaked_bytes).text,
			RATE(one, cycles), ms_of(page->last_pause_ns), ms_of(page->max_pause_ns));
	else
		snprintf(text, sizeof(text), "%7d %-15.15s %s", one->pid, newest(one)->process.name,
			is_alive(one) ? "no page yet" : "gone");
	print(text);
}

static void print_all(print_line print)
{
	if (watched_count == 1) {
		describe(&watched[0], print);
		return;
	}
	print_table_head(print);
	for (size_t i = 0; i < watched_count; i++)
		print_table_row(&watched[i], print);
}

/* ---- the screen ---- */

static void print_on_screen(const char *text)
{
	int row, column, rows, columns;

	getyx(stdscr, row, column);
	getmaxyx(stdscr, rows, columns);
	(void)column;
	if (row < rows - 1)
		mvprintw(row, 0, "%.*s\n", columns - 1, text);
}

/* One figure's history, newest on the right, beside its line. */
static void draw_history(const struct watched *one, int row, int figure, bool has_blocks)
{
	static const char *const blocks[] = {" ", "\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83",
		"\xe2\x96\x84", "\xe2\x96\x85", "\xe2\x96\x86", "\xe2\x96\x87", "\xe2\x96\x88"};
	static const char *const letters[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
	const size_t levels = sizeof(blocks) / sizeof(*blocks) - 1;
	int rows, columns;
	size_t shown;
	uint64_t most = 1;

	getmaxyx(stdscr, rows, columns);
	if (row >= rows - 1 || columns <= VALUE_WIDTH + 1)
		return;
	shown = (size_t)(columns - VALUE_WIDTH - 1);
	if (shown > one->samples)
		shown = one->samples;
	if (shown > HISTORY)
		shown = HISTORY;
	for (size_t i = one->samples - shown; i < one->samples; i++) {
		if (one->history[i % HISTORY][figure] > most)
			most = one->history[i % HISTORY][figure];
	}
	move(row, VALUE_WIDTH);
	for (size_t i = one->samples - shown; i < one->samples; i++) {
		size_t level = (size_t)((double)one->history[i % HISTORY][figure] / (double)most *
					(double)levels);

		addstr(has_blocks ? blocks[level] : letters[level]);
	}
}

static void draw(bool has_blocks)
{
	enum { FIRST_ROW = 2, HEAP_ROW = FIRST_ROW + 2 };
	char text[100];

	erase();
	attron(A_BOLD);
	snprintf(text, sizeof(text), "gasket top   every %.1f s   q: quit   + -: slower, faster",
		(double)delay_ms / 1e3);
	print_on_screen(text);
	attroff(A_BOLD);
	move(FIRST_ROW, 0);
	print_all(print_on_screen);
	for (int figure = 0; watched_count == 1 && figure < 3; figure++) {
		if (newest(&watched[0])->result == PROCESS_FOUND)
			draw_history(&watched[0], HEAP_ROW + figure, figure, has_blocks);
	}
	refresh();
}

static void change_delay(int key)
{
	if (key == '+' && delay_ms * 2 <= DELAY_MS_MAX)
		delay_ms *= 2;
	if (key == '-' && delay_ms / 2 >= DELAY_MS_MIN)
		delay_ms /= 2;
	timeout((int)delay_ms);
}

static int watch_on_screen(void)
{
	bool has_blocks;
	SCREEN *screen;
	size_t alive;
	int key = 0;

	if (!isatty(STDOUT_FILENO))
		fail(EXIT_USAGE, "top: standard output is no terminal; use --once or --json");
	setlocale(LC_ALL, "");
	has_blocks = !strcmp(nl_langinfo(CODESET), "UTF-8");
	setlocale(LC_NUMERIC, "C");
	interrupt_expect();
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		fail(EXIT_FAILED, "top: the terminal '%s' is not known; use --once or --json",
			getenv("TERM") ? getenv("TERM") : "");
	cbreak();
	noecho();
	curs_set(0);
	timeout((int)delay_ms);
	do {
		change_delay(key);
		alive = take_all();
		draw(has_blocks);
	} while (alive > 0 && (key = getch()) != 'q' && !interrupt_signal());
	endwin();
	delscreen(screen);
	interrupt_end();
	if (alive == 0)
		warn_line(
			watched_count == 1 ? "the process has ended" : "the processes have ended");
	return 0;
}

/* ---- text and JSON ---- */

static void print_as_text(const char *text)
{
	puts(text);
}

static void print_as_json(void)
{
	json_object *array = json_object_new_array();
	bool is_one = watched_count == 1;

	for (size_t i = 0; i < watched_count; i++)
		json_object_array_add(
			array, json_of(&newest(&watched[i])->process, newest(&watched[i])->result));
	puts(json_object_to_json_string_ext(is_one ? json_object_array_get_idx(array, 0) : array,
		JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
}

static void rest(void)
{
	struct timespec left = {delay_ms / 1000, delay_ms % 1000 * 1000000};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* Rates need two looks. */
static int print_once(bool as_json)
{
	if (!as_json) {
		take_all();
		rest();
	}
	take_all();
	if (as_json)
		print_as_json();
	else
		print_all(print_as_text);
	return 0;
}

/* A line for each look, as long as somebody is there. */
static int print_lines_of_json(void)
{
	while (take_all() > 0) {
		print_as_json();
		command_flush();
		rest();
	}
	return 0;
}

/* ---- the command ---- */

static long parse_delay(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end ||
		!(seconds * 1000 >= DELAY_MS_MIN && seconds * 1000 <= DELAY_MS_MAX))
		fail(EXIT_USAGE, "top: '%s' is no number of seconds from 0.1 to 3600", text);
	return (long)(seconds * 1000);
}

static void add(const char *text)
{
	struct watched *one = &watched[watched_count];
	struct process process;
	enum process_result result;

	if (watched_count == PROCESSES_MAX)
		fail(EXIT_USAGE, "top: more than %d processes", PROCESSES_MAX);
	one->pid = process_parse_pid("top", text);
	result = process_open(&process, one->pid, false);
	process_close(&process);
	if (result != PROCESS_FOUND && result != PROCESS_WITHOUT_PAGE) {
		process_warn(&process, result);
		exit(EXIT_FAILED);
	}
	watched_count++;
}

int top_command(int argc, char **argv)
{
	bool once = false, as_json = false;
	const char *argument;
	int letter, first = 1;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 'd')
			delay_ms = parse_delay(argument);
		once |= letter == 'n';
		as_json |= letter == 'j';
	}
	if (first == argc)
		fail(EXIT_USAGE, "top: no process id; see gasket help top");
	for (int i = first; i < argc; i++)
		add(argv[i]);
	if (once)
		return print_once(as_json);
	return as_json ? print_lines_of_json() : watch_on_screen();
}
