/*
 * A leaky daemon of the old school: prints its port, forks twice, leaves session and directory,
 * closes every descriptor, and serves on the loopback: each connection costs it a block that is
 * freed, one that is leaked, and gets the number of requests so far. "quit" ends it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LEAK_BYTES = 4096, FREED_BYTES = 2000, BLOCKS_PER_REQUEST = 100 };

static void become_daemon(int keep)
{
	if (fork() != 0)
		_exit(0);
	setsid();
	if (fork() != 0)
		_exit(0);
	if (chdir("/"))
		_exit(1);
	for (int fd = 0; fd < 1024; fd++) {
		if (fd != keep)
			close(fd);
	}
}

static int listen_on_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 16) ||
		getsockname(fd, (struct sockaddr *)&address, &length))
		exit(1);
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

__attribute__((noinline)) static void work(int request)
{
	for (int i = 0; i < BLOCKS_PER_REQUEST; i++) {
		void *volatile leaked = malloc(LEAK_BYTES), *volatile freed = malloc(FREED_BYTES);

		memset(leaked, request, LEAK_BYTES);
		memset(freed, request, FREED_BYTES);
		free(freed);
		leaked = freed = NULL;
	}
}

int main(void)
{
	int listener = listen_on_loopback();
	char text[64];

	become_daemon(listener);
	for (int request = 1;; request++) {
		int client = accept(listener, NULL, NULL);
		ssize_t bytes = read(client, text, sizeof(text) - 1);

		if (bytes >= 4 && !memcmp(text, "quit", 4))
			return 0;
		work(request);
		snprintf(text, sizeof(text), "%d %d\n", getpid(), request);
		if (write(client, text, strlen(text)) < 0)
			return 1;
		close(client);
	}
}
