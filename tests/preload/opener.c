/* Finds libplugin.so by its own RUNPATH, $ORIGIN/plugins: dlopen must see this library as its caller. */
#include <dlfcn.h>

void *open_plugin(int flags);

void *open_plugin(int flags)
{
	void *plugin = dlopen("libplugin.so", flags);

	__asm__ volatile(
		""
		: "+r"(plugin)); /* no jump in place of the call: this library is the caller */
	return plugin;
}
