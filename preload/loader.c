/*
 * dlopen and dlclose. RTLD_DEEPBIND is dropped (a plugin opened so would call libc's malloc and free on our blocks); libc must see the program as the caller,
 * so the wrapper is a jump (jump.S).
 */
#include "core/profile/module.h"
#include "preload/jump.h"
#include "preload/real.h"

void *jump_dlopen(const char *file, int mode)
{
	(void)file;
	(void)mode;
	modules_changed();
	return (void *)&REAL(dlopen);
}

EXPORT int dlclose(void *handle)
{
	int result = REAL(dlclose)(handle);

	modules_changed();
	return result;
}
