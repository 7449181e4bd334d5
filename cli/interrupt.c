#include "cli/interrupt.h"

#include "cli/child.h"
#include "cli/command.h"

#include <signal.h>

static volatile sig_atomic_t interrupted;

static void note(int signal)
{
	interrupted = signal;
}

void interrupt_expect(void)
{
	const struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

int interrupt_signal(void)
{
	return interrupted;
}

void interrupt_end(void)
{
	if (!interrupted)
		return;
	command_flush();
	child_die_as(interrupted);
}
