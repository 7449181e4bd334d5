/*
 * Commands from outside (`gasket set`), through the public page.
 */
#pragma once

/* Obeys the command that waits, if one does, and answers. Collector thread, no lock held. */
void command_answer(void);
