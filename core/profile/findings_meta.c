#include "core/profile/findings_meta.h"

#include "core/base/option.h"
#include "core/os/clock.h"
#include "core/os/syscall.h"
#include "core/profile/default_suppressions.h"
#include "core/profile/stats_page.h"

#include <fcntl.h>
#include <time.h>

enum { TEXT_BYTES = 1024 };

static uint64_t wall_clock_ns(void)
{
	struct timespec time = {0};

	SYSCALL(clock_gettime, CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* Whoever has changed its root, or may not read /proc, has no name. (Of a main thread that has ended /proc/self tells nothing.) */
static uint32_t executable_name(struct findings_writer *writer)
{
	char text[TEXT_BYTES];
	long length =
		SYSCALL(readlinkat, AT_FDCWD, "/proc/thread-self/exe", text, sizeof(text) - 1);

	text[syscall_failed(length) ? 0 : length] = 0;
	return findings_string(writer, text);
}

/* The command line's first word. */
static uint32_t command_name(struct findings_writer *writer)
{
	char text[TEXT_BYTES];
	long fd = SYSCALL(openat, AT_FDCWD, "/proc/thread-self/cmdline", O_RDONLY | O_CLOEXEC);
	long length = syscall_failed(fd) ? fd : SYSCALL(read, fd, text, sizeof(text) - 1);

	if (!syscall_failed(fd))
		SYSCALL(close, fd);
	text[syscall_failed(length) ? 0 : length] = 0;
	return findings_string(writer, text);
}

void findings_describe_process(struct findings_writer *writer, struct findings_meta *meta)
{
	meta->process = (uint32_t)SYSCALL(getpid);
	meta->written_ns = wall_clock_ns();
	meta->age_ns = stats_age_ns();
	meta->sample_bytes = options.stacks == STACKS_ALL ? 0 : options.sample_bytes;
	meta->stacks = (uint32_t)options.stacks;
	meta->command = command_name(writer);
	meta->executable = executable_name(writer);
	meta->default_suppressions = findings_string(writer, default_suppressions());
}
