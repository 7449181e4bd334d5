/*
 * The service that scripts/run shows: a small key-value server on loopback with clients of its own, and the mistakes of a real one.
 *
 *	six leaks		session_create		a session whose client hangs up without QUIT
 *				header_add		the headers of a request that is refused (a list: one direct, the others indirect)
 *				cache_store		the old value when a key is stored again
 *				log_format		the line when the log is full
 *				scratch_create		the buffer of each worker thread that ends
 *				subscription_create	two objects that refer to each other, and nobody to them
 *	one use after free	last_peer: the name of the last client, kept by pointer, read when it was freed long ago
 *	one double free		request_finish: an empty request is freed by its parser, too
 *
 * It prints its resident memory every half second, and says at the end how much it lost.
 */
#include "tests/harness/frames.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CLIENTS = 3,
	CACHE_SLOTS = 64,
	SECONDS = 5,
	VALUE_BYTES = 12000,
	SCRATCH_BYTES = 30000,
	LINE_BYTES = 256
};

struct session {
	int socket;
	char *peer;
	char history[1000];
};

struct header {
	struct header *next;
	char text[80];
};

struct request {
	char line[LINE_BYTES];
	struct header *headers;
};

struct subscription {
	struct subscription *other;
	char topic[200];
};

static struct {
	pthread_mutex_t lock;
	char *cache[CACHE_SLOTS];
	const char *last_peer; // the mistake: a pointer to memory of the session
	atomic_bool stop;
	atomic_ulong requests, leaked_bytes;
	struct sockaddr_in address;
} service = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void lost(size_t bytes)
{
	atomic_fetch_add(&service.leaked_bytes, bytes);
}

static void *must(void *memory)
{
	if (memory)
		return memory;
	fprintf(stderr, "leaky_service: no memory\n");
	exit(1);
}

/* ---- where the memory goes ---- */

KEEP static struct session *session_create(int socket)
{
	struct session *session = must(malloc(sizeof(*session)));

	session->socket = socket;
	session->peer = NULL;
	memset(session->history, 'h', sizeof(session->history));
	return session;
}

KEEP static char *peer_name(unsigned number)
{
	char *name = must(malloc(64));

	snprintf(name, 64, "client number %u", number);
	return name;
}

KEEP static void header_add(struct request *request, const char *text)
{
	struct header *header = must(malloc(sizeof(*header)));

	memset(header, 0, sizeof(*header));
	snprintf(header->text, sizeof(header->text), "%s", text);
	header->next = request->headers;
	request->headers = header;
}

KEEP static void cache_store(unsigned slot, const char *value)
{
	char *copy = must(malloc(VALUE_BYTES));

	memset(copy, 0, VALUE_BYTES);
	snprintf(copy, VALUE_BYTES, "%s", value);
	pthread_mutex_lock(&service.lock);
	// the mistake: what was there is forgotten
	if (service.cache[slot])
		lost(VALUE_BYTES);
	service.cache[slot] = copy;
	pthread_mutex_unlock(&service.lock);
}

KEEP static char *log_format(const char *what, unsigned long number)
{
	char *line = must(malloc(LINE_BYTES));

	memset(line, 0, LINE_BYTES);
	snprintf(line, LINE_BYTES, "%s %lu", what, number);
	return line;
}

KEEP static char *scratch_create(void)
{
	char *scratch = must(malloc(SCRATCH_BYTES));

	memset(scratch, 's', SCRATCH_BYTES);
	return scratch;
}

KEEP static struct subscription *subscription_create(const char *topic)
{
	struct subscription *subscription = must(calloc(1, sizeof(*subscription)));

	snprintf(subscription->topic, sizeof(subscription->topic), "%s", topic);
	return subscription;
}

/* ---- the server ---- */

static void log_line(const char *what, unsigned long number)
{
	char *line = log_format(what, number);
	bool log_is_full = number % 3 == 0;

	if (log_is_full) {
		lost(LINE_BYTES);
		return; // the mistake: an early return
	}
	free(line);
}

static void subscribe(const char *topic)
{
	struct subscription *a = subscription_create(topic), *b = subscription_create(topic);

	a->other = b;
	b->other = a;
	lost(2 * sizeof(*a));
}

static void headers_free(struct request *request)
{
	while (request->headers) {
		struct header *header = request->headers;

		request->headers = header->next;
		free(header);
	}
}

KEEP static struct request *request_parse(const char *line)
{
	struct request *request = must(malloc(sizeof(*request)));

	snprintf(request->line, sizeof(request->line), "%s", line);
	request->headers = NULL;
	for (int i = 0; i < 8; i++)
		header_add(request, "X-Something: of no interest");
	if (line[0] == 0) {
		headers_free(request);
		free(request); // and its caller frees it again: the double free
	}
	return request;
}

KEEP static void request_finish(struct request *request, bool is_refused)
{
	if (is_refused)
		lost(8 * sizeof(struct header)); // the mistake: only the request itself is freed
	else
		headers_free(request);
	free(request);
	AFTER_CALL;
}

KEEP static void request_handle(const char *line)
{
	unsigned long number = atomic_fetch_add(&service.requests, 1);
	struct request *request;

	if (line[0] == 0) {
		request = request_parse(line);
		free(request);
		return;
	}
	request = request_parse(line);
	if (strncmp(line, "SET", 3) == 0)
		cache_store((unsigned)(number % CACHE_SLOTS), line);
	if (strncmp(line, "SUB", 3) == 0)
		subscribe(line);
	log_line("handled", number);
	request_finish(request, strncmp(line, "BAD", 3) == 0);
}

static void session_end(struct session *session, bool said_quit)
{
	close(session->socket);
	free(session->peer);
	if (said_quit)
		free(session);
	else
		lost(sizeof(*session)); // the mistake
}

/* One line ends at each newline; answers each with one byte. True if the client said QUIT. */
static bool serve_lines(struct session *session)
{
	char line[LINE_BYTES];
	size_t length = 0;
	char byte;

	while (read(session->socket, &byte, 1) == 1) {
		if (byte != '\n') {
			if (length + 1 < sizeof(line))
				line[length++] = byte;
			continue;
		}
		line[length] = 0;
		length = 0;
		if (strcmp(line, "QUIT") == 0)
			return true;
		request_handle(line);
		if (write(session->socket, "+", 1) != 1)
			return false;
	}
	return false;
}

KEEP static void *worker(void *argument)
{
	struct session *session = argument;
	char *scratch = scratch_create(); // the mistake: nobody frees it

	scratch[0] = 'w';
	session_end(session, serve_lines(session));
	lost(SCRATCH_BYTES);
	AFTER_CALL;
	return NULL;
}

static void *server(void *argument)
{
	int listener = (int)(intptr_t)argument;
	unsigned number = 0;

	for (;;) {
		int socket = accept(listener, NULL, NULL);
		struct session *session;
		pthread_t thread;

		if (socket < 0)
			return NULL;
		session = session_create(socket);
		session->peer = peer_name(number++);
		service.last_peer = session->peer;
		if (pthread_create(&thread, NULL, worker, session) == 0)
			pthread_detach(thread);
		else
			session_end(session, true);
	}
}

/* ---- clients ---- */

static void talk(int socket, unsigned round)
{
	static const char *const lines[] = {"SET a value that is stored\n", "GET something\n",
		"SUB a topic\n", "BAD request\n", "SET another\n"};
	char answer;

	for (unsigned i = 0; i < 20; i++) {
		const char *line = lines[(i + round) % 5];

		if (write(socket, line, strlen(line)) < 0 || read(socket, &answer, 1) != 1)
			return;
	}
	if (round % 2 == 0 && write(socket, "QUIT\n", 5) != 5)
		return;
}

static void *client(void *argument)
{
	(void)argument;
	for (unsigned round = 0; !service.stop; round++) {
		int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connection < 0)
			continue;
		if (connect(connection, (struct sockaddr *)&service.address,
			    sizeof(service.address)) == 0)
			talk(connection, round);
		close(connection);
	}
	return NULL;
}

static int listen_on_loopback(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(service.address);

	service.address = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (listener < 0 || bind(listener, (struct sockaddr *)&service.address, bytes) != 0 ||
		listen(listener, 64) != 0 ||
		getsockname(listener, (struct sockaddr *)&service.address, &bytes) != 0) {
		perror("leaky_service: loopback");
		exit(1);
	}
	return listener;
}

static unsigned long resident_kilobytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file)
		return 0;
	if (fscanf(file, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void watch(void)
{
	const struct timespec half = {.tv_nsec = 500000000};

	printf("    time   requests      lost so far   resident\n");
	for (int i = 1; i <= 2 * SECONDS; i++) {
		nanosleep(&half, NULL);
		printf("  %4.1f s   %8lu   %8.1f MB   %5.1f MB\n", i / 2.0,
			(unsigned long)service.requests, (double)service.leaked_bytes / 1e6,
			(double)resident_kilobytes() / 1e3);
		fflush(stdout);
	}
}

int main(void)
{
	const char *options = getenv("GASKET_OPTIONS");
	int listener = listen_on_loopback();
	pthread_t threads[CLIENTS + 1];

	printf("leaky_service on port %d, %d seconds, GASKET_OPTIONS=%s: six leaks, a use after free and a double free\n",
		ntohs(service.address.sin_port), SECONDS, options ? options : "");
	fflush(stdout);
	pthread_create(&threads[CLIENTS], NULL, server, (void *)(intptr_t)listener);
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&threads[i], NULL, client, NULL);
	watch();
	service.stop = true;
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	shutdown(listener, SHUT_RDWR);
	pthread_join(threads[CLIENTS], NULL);
	request_handle("");
	printf("after their memory was freed: the last peer was \"%s\"\n", service.last_peer);
	fflush(stdout);
	return 0;
}
