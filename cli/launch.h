/*
 * The environment a program is started with under Gasket.
 */
#pragma once

/* The absolute path of libgasket.so: beside this command, or in the lib folder next to its bin.
 * Ends the process when it is in neither. */
const char *launch_find_library(void);

/* Puts the library in front of LD_PRELOAD. */
void launch_preload(const char *library);

/* Appends options to GASKET_OPTIONS; what is later in the text wins. NULL or "" adds nothing. */
void launch_add_options(const char *options);

/* Becomes the program. Returns only to end the process with the shell's status and one line. */
void launch_exec(const char *path, char **argv) __attribute__((noreturn));
