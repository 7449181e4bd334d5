/*
 * Looks at a program before it is started: can a library be preloaded into it?
 */
#pragma once

/*
 * The path execvp would start for `name`. Ends the process with one line and status 126 or 127 when
 * it is missing, not executable, or when the loader would not preload anything into it: static, for
 * another machine or C library, or started with privileges of its file. For a script all this is
 * asked of its interpreter. The result is allocated.
 */
char *program_demand_preloadable(const char *name);
