/*
 * What fork has to know of the program's other doings.
 */
#pragma once

/* The program made a thread by libc's functions. Any thread. */
void fork_note_thread(void);
