/*
 * A program under test: forks twice, starts a session, closes every descriptor, and serves on a UNIX socket with two threads.
 * Usage: daemon SOCKET. Requests: "descriptors" (how many are open), "work N" (a sum), "end".
 */
#include <dirent.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct entry {
	struct entry *next;
	uint64_t value;
	char *text;
};

static struct entry *table[512];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void become_daemon(void)
{
	if (fork() > 0)
		_exit(0);
	setsid();
	if (fork() > 0)
		_exit(0);
	for (int descriptor = 0; descriptor < 1024; descriptor++)
		close(descriptor);
	umask(0);
}

static uint64_t work(unsigned seed)
{
	uint64_t sum = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < 300; i++) {
		struct entry *entry = malloc(sizeof(*entry)),
			     **place = &table[(seed * 31 + i * 7) % 512];
		if (!entry || asprintf(&entry->text, "entry %u of %u", i, seed) < 0)
			abort();
		entry->value = i;
		entry->next = *place;
		*place = entry;
		sum += strlen(entry->text);
	}
	for (unsigned i = 0; i < 512; i++)
		for (struct entry **place = &table[i]; *place;) {
			struct entry *entry = *place;
			if (strncmp(entry->text, "entry ", 6) != 0)
				abort();
			if (entry->value % 3 == seed % 3) {
				place = &entry->next;
				continue;
			}
			*place = entry->next;
			free(entry->text);
			free(entry);
		}
	pthread_mutex_unlock(&lock);
	return sum;
}

static int count_descriptors(void)
{
	int count = 0;
	DIR *folder = opendir("/proc/self/fd");

	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count;
}

static const char *socket_path;

static void answer(int connection)
{
	char request[100] = "", text[100] = "";

	if (read(connection, request, sizeof(request) - 1) < 0)
		abort();
	if (strncmp(request, "work ", 5) == 0)
		snprintf(text, sizeof(text), "%llu\n",
			(unsigned long long)work((unsigned)atoi(request + 5)));
	else if (strcmp(request, "descriptors") == 0)
		snprintf(text, sizeof(text), "%d\n", count_descriptors());
	if (write(connection, text, strlen(text)) < 0)
		abort();
	close(connection);
	if (strcmp(request, "end") == 0) {
		unlink(socket_path);
		exit(0);
	}
}

static void *serve(void *argument)
{
	for (;;) {
		int connection = accept(*(int *)argument, NULL, NULL);
		if (connection >= 0)
			answer(connection);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (count != 2)
		return 2;
	socket_path = arguments[1];
	become_daemon();
	strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(listener, 50) != 0)
		return 1;
	pthread_t thread;
	pthread_create(&thread, NULL, serve, &listener);
	serve(&listener);
}
