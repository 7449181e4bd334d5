/*
 * A run of a server: it is started under the allocator, the load is run against it, and it is asked
 * to end by SIGTERM. The load is the program as its users see it, so it runs without the allocator
 * and its time is what counts; memory and CPU time are the server's.
 */
#include "cli/ab_run.h"
#include "cli/command.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const double READY_SECONDS = 60, STOP_SECONDS = 10, LOOK_SECONDS = 0.01;

struct server {
	const struct subject *subject;
	const struct allocator *allocator;
	int output;
};

static void become_shell(const char *line)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execl("/bin/sh", "sh", "-c", line, (char *)NULL);
	_exit(EXIT_NOT_FOUND);
}

/* "exec": the shell does not stay between us and the server. */
static void become_server(const void *data)
{
	const struct server *server = data;
	char line[strlen(server->subject->server) + sizeof("exec ")];

	sprintf(line, "exec %s", server->subject->server);
	run_prepare(server->allocator, -1);
	become_shell(line);
}

static bool port_answers(unsigned port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers;

	if (fd < 0)
		fail(EXIT_FAILED, "ab: socket: %s", strerror(errno));
	answers = !connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return answers;
}

static bool is_ready(const struct subject *subject)
{
	return subject->ready ? !access(subject->ready, F_OK) : port_answers(subject->port);
}

void server_demand_free(const struct subject *subject)
{
	if (!is_ready(subject))
		return;
	if (subject->ready)
		fail(EXIT_FAILED, "ab: %s is there before the server is started", subject->ready);
	fail(EXIT_FAILED, "ab: port %u is in use before the server is started", subject->port);
}

/* NULL, or why the server will never be ready. */
static const char *await_ready(struct measurement *server, const struct subject *subject)
{
	double start = measure_clock();

	while (!is_ready(subject)) {
		if (measure_while(server, server->fd, LOOK_SECONDS))
			return "the server ended before it was ready";
		if (measure_clock() - start > READY_SECONDS)
			return "the server did not become ready";
	}
	return NULL;
}

static bool has_ended(const struct measurement *server)
{
	struct pollfd look = {.fd = server->fd, .events = POLLIN};

	return poll(&look, 1, 0) > 0;
}

/* Runs the load; its seconds in *ret_seconds. NULL, or what went wrong. */
static const char *run_load(struct measurement *measurement, const struct server *server,
	int *ret_status, double *ret_seconds)
{
	const char *trouble = NULL;
	double start = measure_clock();
	pid_t child = fork();
	int fd;

	if (child < 0)
		fail(EXIT_FAILED, "fork: %s", strerror(errno));
	if (child == 0) {
		run_prepare(NULL, server->output);
		become_shell(server->subject->load);
	}
	fd = process_fd(child);
	while (!trouble && !measure_while(measurement, fd, 1)) {
		if (has_ended(measurement)) {
			trouble = "the server ended while it was under load";
			kill(child, SIGKILL);
		}
	}
	close(fd);
	while (waitpid(child, ret_status, 0) < 0) {
		if (errno != EINTR)
			fail(EXIT_FAILED, "wait: %s", strerror(errno));
	}
	*ret_seconds = measure_clock() - start;
	return trouble ? trouble : *ret_status ? "the load failed" : NULL;
}

/* Returns the signal it takes. */
static int stop_server(struct measurement *measurement)
{
	kill(measurement->child, SIGTERM);
	if (measure_while(measurement, measurement->fd, STOP_SECONDS))
		return SIGTERM;
	kill(measurement->child, SIGKILL);
	return SIGKILL;
}

struct run run_server(const struct subject *subject, const struct allocator *allocator, int output,
	struct outcome *ret_outcome)
{
	struct server server = {subject, allocator, output};
	struct measurement measurement;
	double seconds = 0;
	struct run run;
	int asked;

	server_demand_free(subject);
	measure_start(&measurement, become_server, &server);
	if (measurement.fd < 0)
		fail(EXIT_FAILED, "ab: --server needs pidfd_open (Linux 5.3)");
	ret_outcome->trouble = await_ready(&measurement, subject);
	if (!ret_outcome->trouble)
		ret_outcome->trouble =
			run_load(&measurement, &server, &ret_outcome->status, &seconds);
	asked = stop_server(&measurement);
	run = measure_end(&measurement);
	run.metric[METRIC_WALL] = seconds;
	if (!ret_outcome->trouble && WIFSIGNALED(run.status) && WTERMSIG(run.status) != SIGTERM &&
		WTERMSIG(run.status) != asked)
		ret_outcome->trouble = "the server died of a signal";
	if (subject->ready)
		unlink(subject->ready); // some leave it: it was not there before
	return run;
}
