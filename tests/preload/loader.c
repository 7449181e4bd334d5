/*
 * dlopen under the library: a plugin opened with RTLD_DEEPBIND shares the allocator, and a library that opens plugins by its own RUNPATH finds them, in every
 * build type (a wrapper on the stack would be taken for the caller).
 */
#include "tests/harness/test.h"

#include "preload/gasket.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

void *open_plugin(int flags);

static void check_plugin(void *plugin)
{
	char *(*make)(void);
	void (*release)(char *);

	CHECK_MSG(plugin != NULL, "dlopen: %s", dlerror());
	make = (char *(*)(void))dlsym(plugin, "plugin_make");
	release = (void (*)(char *))dlsym(plugin, "plugin_free");
	for (int i = 0; i < 100; i++) {
		char *theirs = make(), *ours = strdup("made by the program");

		CHECK_STR_EQ(theirs, "made by the plugin");
		CHECK_EQ(gasket_block_state(theirs) == 1 || gasket_block_state(theirs) == 4, 1);
		free(theirs);
		release(ours);
	}
	CHECK_EQ(dlclose(plugin), 0);
}

TEST(a_deepbind_plugin_shares_the_allocator)
{
	check_plugin(open_plugin(RTLD_NOW | RTLD_DEEPBIND));
}

TEST(a_plugin_is_found_by_its_callers_runpath)
{
	CHECK_NULL(dlopen("libplugin.so", RTLD_NOW)); /* not by the program's */
	check_plugin(open_plugin(RTLD_NOW));
	check_plugin(open_plugin(RTLD_LAZY | RTLD_GLOBAL));
}

TEST(dlopen_reports_errors)
{
	CHECK_NULL(dlopen("/nowhere/libnothing.so", RTLD_NOW | RTLD_DEEPBIND));
	CHECK_NOT_NULL(strstr(dlerror(), "/nowhere/libnothing.so"));
	CHECK_NOT_NULL(dlopen(NULL, RTLD_NOW));
}
