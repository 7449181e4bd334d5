/*
 * Memory limits of control groups, from files as the kernel writes them.
 */
#include "core/os/cgroup.h"
#include "tests/harness/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[64] = "/tmp/gasket-cgroup-XXXXXX";

static void write_file(const char *name, const char *text)
{
	char path[200];
	FILE *file;

	for (const char *at = strchr(name, '/'); at; at = strchr(at + 1, '/')) {
		snprintf(path, sizeof(path), "%s/%.*s", place, (int)(at - name), name);
		mkdir(path, 0700);
	}
	snprintf(path, sizeof(path), "%s/%s", place, name);
	file = fopen(path, "w");
	CHECK_NOT_NULL(file);
	fputs(text, file);
	fclose(file);
}

static void begin(const char *membership)
{
	CHECK_NOT_NULL(mkdtemp(place));
	write_file("membership", membership);
}

static uint64_t limit(void)
{
	char membership[100];

	snprintf(membership, sizeof(membership), "%s/membership", place);
	return cgroup_memory_limit_in(membership, place);
}

static void end(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", place);
	CHECK_EQ(system(command), 0);
}

TEST(version_2_the_lowest_on_the_way_up)
{
	begin("0::/system.slice/service\n");
	CHECK_EQ(limit(), 0u);
	write_file("system.slice/service/memory.max", "max\n");
	write_file("system.slice/service/memory.high", "max\n");
	CHECK_EQ(limit(), 0u);
	write_file("system.slice/memory.max", "3000000\n");
	CHECK_EQ(limit(), 3000000u);
	write_file("system.slice/service/memory.high", "1000000\n");
	CHECK_EQ(limit(), 1000000u);
	write_file("memory.max", "999999\n");
	CHECK_EQ(limit(), 999999u);
	end();
}

TEST(version_1_of_the_controller_named_memory)
{
	begin("12:pids:/other\n5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/abc\n0::/init\n");
	write_file("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
	CHECK_EQ(limit(), 0u);
	write_file("memory/docker/memory.limit_in_bytes", "5000000\n");
	CHECK_EQ(limit(), 5000000u);
	write_file("memory/other/memory.limit_in_bytes", "1\n");
	CHECK_EQ(limit(), 5000000u);
	end();
}

/* In a container the path may be the host's, and the mount the group itself. */
TEST(a_path_that_is_not_there)
{
	begin("0::/kubepods/pod1/abc\n");
	write_file("memory.max", "7000000\n");
	CHECK_EQ(limit(), 7000000u);
	end();
}

TEST(what_cannot_be_read_is_no_limit)
{
	CHECK_EQ(cgroup_memory_limit_in("/nowhere/at/all", "/nowhere"), 0u);
	begin("");
	CHECK_EQ(limit(), 0u);
	write_file("membership", "nonsense\n::\n7\n0:memory\n0::/a");
	write_file("a/memory.max", "no number\n");
	CHECK_EQ(limit(), 0u);
	write_file("a/memory.max", "");
	CHECK_EQ(limit(), 0u);
	write_file("a/memory.max", "12345");
	CHECK_EQ(limit(), 12345u);
	end();
}
