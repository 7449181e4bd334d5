/*
 * Finding the page of a process. The process's own list of mappings names it, which says at once
 * that the process is alive, has the library, and which file is its page, whatever its user, its
 * namespaces and its XDG_RUNTIME_DIR were when it made the file. The file is then opened in the
 * process's own view of the file system (/proc/PID/root) without following any link, or, if it has
 * changed its root since, in ours. Mappings and root are a thread's: once the main thread has ended
 * they are gone from /proc/PID, and those of another thread are taken.
 *
 * Everything read is somebody else's word: the file must be a regular one of the right size, belong
 * to the user of the process or to root (a daemon that has dropped its rights), be writable for
 * nobody else, and tell the pid and start time its name tells.
 */
#include "cli/process.h"

#include "cli/command.h"
#include "cli/option_table.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DELETED " (deleted)"

/* What /proc tells of the process. */
struct view {
	int fd;             // of /proc/PID
	int task;           // the same, or of the folder of a thread if the main one has ended
	uid_t users[4];     // real, effective, saved, file system
	uint64_t inner_pid; // its pid as itself sees it
	bool has_ended;     // a zombie, all of it
	bool has_library;
	char page_path[PATH_MAX]; // "" when none is mapped
	uint64_t page_pid;        // from the name of the file
	uint64_t page_start_time;
};

static FILE *open_text(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (fd >= 0 && !file)
		close(fd);
	return file;
}

static void read_name(const struct view *view, char *name, size_t capacity)
{
	FILE *file = open_text(view->fd, "comm");

	snprintf(name, capacity, "?");
	if (!file)
		return;
	if (fgets(name, (int)capacity, file)) {
		for (; *name && *name != '\n'; name++)
			*name = isascii(*name) && isprint(*name) ? *name : '?';
		*name = 0;
	}
	fclose(file);
}

/* The last number of NSpid is the pid in the innermost namespace. False for what is no process: a
 * thread's id names one in /proc, too. */
static bool read_status(struct view *view, pid_t pid)
{
	FILE *file = open_text(view->fd, "status");
	char line[512];
	bool known = false;
	int group = 0;

	view->inner_pid = (uint64_t)pid;
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		const char *last = strrchr(line, '\t');

		sscanf(line, "Tgid: %d", &group);
		view->has_ended |=
			view->task == view->fd &&
			(!strncmp(line, "State:\tZ", 8) || !strncmp(line, "State:\tX", 8));
		if (sscanf(line, "Uid: %u %u %u %u", &view->users[0], &view->users[1],
			    &view->users[2], &view->users[3]) == 4)
			known = true;
		if (!strncmp(line, "NSpid:", 6) && last)
			view->inner_pid = strtoull(last, NULL, 10);
	}
	fclose(file);
	return known && group == pid;
}

/* Takes ".../gasket-UID/PID-STARTTIME" apart. */
static bool parse_page_path(const char *path, uint64_t *ret_pid, uint64_t *ret_start_time)
{
	const char *name = strrchr(path, '/');
	const char *folder = name ? memrchr(path, '/', (size_t)(name - path)) : NULL;
	unsigned user;
	int end = 0;

	if (!folder || sscanf(folder, "/gasket-%u/%n", &user, &end) != 1 ||
		folder + end != name + 1)
		return false;
	end = 0;
	return sscanf(name, "/%" SCNu64 "-%" SCNu64 "%n", ret_pid, ret_start_time, &end) == 2 &&
	       !name[end];
}

static void look_at_mapping(struct view *view, char *line)
{
	char *path = strchr(line, '/');
	const char *name;
	size_t length;
	uint64_t pid, start_time;

	if (!path)
		return;
	path[strcspn(path, "\n")] = 0;
	length = strlen(path);
	if (length > strlen(DELETED) && !strcmp(path + length - strlen(DELETED), DELETED))
		path[length - strlen(DELETED)] = 0;
	name = strrchr(path, '/') + 1;
	if (!strncmp(name, "libgasket.so", 12)) {
		view->has_library = true;
	} else if (parse_page_path(path, &pid, &start_time) && pid == view->inner_pid) {
		snprintf(view->page_path, sizeof(view->page_path), "%s", path);
		view->page_pid = pid;
		view->page_start_time = start_time;
	}
}

static enum process_result read_mappings(struct view *view)
{
	FILE *file = open_text(view->task, "maps");
	enum process_result result = PROCESS_FOUND;
	bool any = false;
	char *line = NULL;
	size_t capacity = 0;

	if (!file)
		return errno == EACCES || errno == EPERM ? PROCESS_NOT_PERMITTED : PROCESS_MISSING;
	errno = 0;
	while (getline(&line, &capacity, file) > 0) {
		any = true;
		look_at_mapping(view, line);
	}
	if (!any && (errno == EACCES || errno == EPERM))
		result = PROCESS_NOT_PERMITTED;
	free(line);
	fclose(file);
	if (result != PROCESS_FOUND)
		return result;
	return view->has_library ? PROCESS_FOUND : PROCESS_NOT_UNDER;
}

/* Opens the absolute path of a directory below `root` without following a link anywhere. */
static int open_folder_below(int root, const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct open_how how = {
		.flags = (uint64_t)flags,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(root, path + 1, flags);
	return fd;
}

/* The directory the page of the process is in. */
static int open_folder(const struct view *view)
{
	int root = openat(view->task, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *path = strdup(view->page_path);
	int fd;

	*strrchr(path, '/') = 0;
	fd = root < 0 ? -1 : open_folder_below(root, path);
	if (root >= 0)
		close(root);
	if (fd < 0 && errno != EACCES) { // it has changed its root
		root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = open_folder_below(root, path);
		close(root);
	}
	free(path);
	return fd;
}

/* Opens the page of the process, or with a suffix the file of that name beside it. */
static int open_file(const struct view *view, const char *suffix, int flags, bool remove)
{
	int folder = open_folder(view), fd;
	char name[64];

	if (folder < 0)
		return -1;
	snprintf(name, sizeof(name), "%s%s", strrchr(view->page_path, '/') + 1, suffix);
	fd = openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && remove)
		unlinkat(folder, name, 0);
	close(folder);
	return fd;
}

static bool file_is_trustworthy(const struct view *view, int fd)
{
	struct stat status;
	bool own = false;

	if (fstat(fd, &status) || !S_ISREG(status.st_mode) || (status.st_mode & 0077))
		return false;
	for (int i = 0; i < 4; i++)
		own |= status.st_uid == view->users[i];
	return own || status.st_uid == 0;
}

/* Choices beyond the words this command knows, or options beyond theirs, make a page worthless. */
static bool choices_are_valid(const struct stats_page *page)
{
	char word[128];
	const struct option_entry *option;

#define STATS_NUMBER(name, unit, writer, help)
#define STATS_OPTION(name, writer, help) \
	option = option_find(#name, strlen(#name)); \
	if (!option || !words_get(option->words, page->name, word, sizeof(word))) \
		return false;
#define STATS_CHOICE(name, words, writer, help) \
	if (!words_get(words, page->name, word, sizeof(word))) \
		return false;
#include "core/profile/stats_page.def"
#undef STATS_NUMBER
#undef STATS_OPTION
#undef STATS_CHOICE
	return true;
}

/* Copies the page out, once, and looks only at the copy. */
static enum process_result read_page(struct process *process, const struct view *view)
{
	struct stats_page *page = &process->page;
	struct stat status;
	size_t most = (STATS_PAGE_BYTES - STATS_FIGURES_OFFSET) / sizeof(uint64_t), known_end;

	if (fstat(process->page_fd, &status) || status.st_size != STATS_PAGE_BYTES)
		return PROCESS_BAD_PAGE;
	if (pread(process->page_fd, page, sizeof(*page), 0) != sizeof(*page))
		return PROCESS_BAD_PAGE;
	if (page->magic == 0) // being made
		return PROCESS_WITHOUT_PAGE;
	if (page->magic != STATS_MAGIC || page->figure_count > most)
		return PROCESS_BAD_PAGE;
	if (page->version != STATS_VERSION)
		return PROCESS_OTHER_VERSION;
	if (page->pid != view->page_pid || page->start_time != view->page_start_time)
		return PROCESS_BAD_PAGE;
	known_end = STATS_FIGURES_OFFSET + page->figure_count * sizeof(uint64_t);
	if (known_end < sizeof(*page))
		memset((char *)page + known_end, 0, sizeof(*page) - known_end);
	page->command.text[STATS_TEXT_BYTES - 1] = 0;
	return choices_are_valid(page) ? PROCESS_FOUND : PROCESS_BAD_PAGE;
}

static enum process_result look(struct process *process, struct view *view, bool to_write)
{
	enum process_result result;

	read_name(view, process->name, sizeof(process->name));
	if (!read_status(view, process->pid))
		return PROCESS_MISSING;
	if (view->has_ended)
		return PROCESS_ENDED;
	result = read_mappings(view);
	if (result != PROCESS_FOUND)
		return result;
	if (!*view->page_path)
		return PROCESS_WITHOUT_PAGE;
	process->page_fd = open_file(view, "", to_write ? O_RDWR : O_RDONLY, false);
	if (process->page_fd < 0)
		return errno == EACCES || errno == EPERM ? PROCESS_NOT_PERMITTED
							 : PROCESS_WITHOUT_PAGE;
	return file_is_trustworthy(view, process->page_fd) ? read_page(process, view)
							   : PROCESS_BAD_PAGE;
}

/* A thread that has ended has no root: not one that may not be read, but none. */
static bool has_ended(int task)
{
	char text[1];

	return readlinkat(task, "root", text, sizeof(text)) < 0 && errno == ENOENT;
}

/* The folder of a thread that has not ended, or -1. */
static int open_thread(int process)
{
	int folder = openat(process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), task = -1;
	DIR *list = folder < 0 ? NULL : fdopendir(folder);
	const struct dirent *entry;

	while (list && task < 0 && (entry = readdir(list))) {
		if (*entry->d_name == '.')
			continue;
		task = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (task >= 0 && has_ended(task)) {
			close(task);
			task = -1;
		}
	}
	if (list)
		closedir(list);
	else if (folder >= 0)
		close(folder);
	return task;
}

static void close_view(struct view *view)
{
	if (view->task != view->fd)
		close(view->task);
	close(view->fd);
}

static bool open_view(struct view *view, pid_t pid)
{
	char path[32];
	int task;

	*view = (struct view){0};
	snprintf(path, sizeof(path), "/proc/%d", pid);
	view->fd = view->task = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (view->fd < 0)
		return false;
	if (has_ended(view->fd) && (task = open_thread(view->fd)) >= 0)
		view->task = task;
	return true;
}

enum process_result process_open(struct process *process, pid_t pid, bool to_write)
{
	enum process_result result;
	struct view view;

	*process = (struct process){.pid = pid, .name = "?", .page_fd = -1};
	if (!open_view(&view, pid))
		return PROCESS_MISSING;
	result = look(process, &view, to_write);
	close_view(&view);
	return result;
}

bool process_is_gone(enum process_result result)
{
	return result == PROCESS_MISSING || result == PROCESS_ENDED;
}

bool process_is_alive(pid_t pid)
{
	struct view view;
	bool is_there;

	if (!open_view(&view, pid))
		return false;
	is_there = read_status(&view, pid) && !view.has_ended;
	close_view(&view);
	return is_there;
}

static int take_file(const struct process *process, const char *suffix)
{
	struct view view;
	int fd = -1;

	if (!open_view(&view, process->pid))
		return -1;
	if (read_status(&view, process->pid) && read_mappings(&view) == PROCESS_FOUND &&
		*view.page_path)
		fd = open_file(&view, suffix, O_RDONLY, true);
	if (fd >= 0 && !file_is_trustworthy(&view, fd)) {
		close(fd);
		fd = -1;
	}
	close_view(&view);
	return fd;
}

int process_take_report(const struct process *process)
{
	return take_file(process, STATS_REPORT_SUFFIX);
}

int process_take_findings(const struct process *process)
{
	return take_file(process, STATS_FINDINGS_SUFFIX);
}

int process_take_snapshot(const struct process *process)
{
	return take_file(process, STATS_SNAPSHOT_SUFFIX);
}

void process_close(struct process *process)
{
	if (process->page_fd >= 0)
		close(process->page_fd);
	process->page_fd = -1;
}

static const char *reason_of(enum process_result result)
{
	switch (result) {
	case PROCESS_ENDED:
		return "has ended";
	case PROCESS_NOT_UNDER:
		return "not under Gasket";
	case PROCESS_NOT_PERMITTED:
		return "not permitted; try as its user or as root";
	case PROCESS_WITHOUT_PAGE:
		return "has no page yet: no collection and no blocking call so far";
	case PROCESS_OTHER_VERSION:
		return "its page has another version than this command reads";
	default:
		return "its page is damaged";
	}
}

void process_warn(const struct process *process, enum process_result result)
{
	if (result == PROCESS_MISSING)
		warn_line("%d: no such process", process->pid);
	else
		warn_line("%d (%s): %s", process->pid, process->name, reason_of(result));
}

pid_t process_parse_pid(const char *command, const char *text)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || *end || end == text || number <= 0 || number > INT_MAX)
		fail(EXIT_USAGE, "%s: '%s' is not a process id; see gasket help %s", command, text,
			command);
	return (pid_t)number;
}
