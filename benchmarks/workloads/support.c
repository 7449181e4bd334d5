/*
 * Workers, size mixes, and the figures of /proc. Nothing here allocates between a run's start and
 * its end: tables are mapped, files are read by plain system calls.
 */
#include "benchmarks/workloads/workload.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct mix mix_objects;
struct mix mix_server;

static struct worker *workers[THREADS_MAX]; // by index; stored and loaded atomically

/* One band of sizes: from the end of the band before it up to `most` bytes. */
struct band {
	unsigned most;
	unsigned permille;
};

void broken(const char *what)
{
	fprintf(stderr, "workload: %s\n", what);
	_exit(1);
}

static void mix_make(struct mix *mix, const struct band *bands)
{
	struct worker worker = {.random = 42};
	unsigned next = 0, low = SLOT_BYTES_MIN, share = 0;

	for (const struct band *band = bands; band->most; low = band->most + 1, band++) {
		share += band->permille;
		while (next < MIX_SIZES * share / 1000)
			mix->size[next++] =
				(uint16_t)(low + random_next(&worker) % (band->most - low + 1));
	}
	if (share != 1000)
		broken("a mix does not add up");
}

void mixes_make(void)
{
	static const struct band objects[] = {{16, 120}, {32, 290}, {48, 210}, {64, 140}, {96, 80},
		{128, 50}, {256, 60}, {512, 30}, {1024, 12}, {4096, 8}, {0, 0}};
	static const struct band server[] = {{16, 60}, {32, 200}, {64, 270}, {128, 170}, {256, 100},
		{512, 70}, {1024, 50}, {4096, 50}, {16384, 20}, {32768, 10}, {0, 0}};

	mix_make(&mix_objects, objects);
	mix_make(&mix_server, server);
}

double clock_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void *table_map(size_t bytes)
{
	void *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (table == MAP_FAILED)
		broken("no memory for a table");
	return table;
}

void table_unmap(void *table, size_t bytes)
{
	munmap(table, bytes);
}

static uint64_t workers_done(void)
{
	uint64_t done = 0;

	for (unsigned i = 0; i < THREADS_MAX; i++) {
		struct worker *worker = __atomic_load_n(&workers[i], __ATOMIC_ACQUIRE);

		if (worker)
			done += __atomic_load_n(&worker->done, __ATOMIC_RELAXED);
	}
	return done;
}

static void *ticks_main(void *argument)
{
	struct timespec time;
	uint64_t before = 0;

	clock_gettime(CLOCK_MONOTONIC, &time);
	for (uintptr_t left = (uintptr_t)argument; left > 0; left--) {
		uint64_t done;

		time.tv_sec++;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
		done = workers_done();
		printf("%lu\n", (unsigned long)(done - before));
		fflush(stdout);
		before = done;
	}
	exit(0);
}

void ticks_start(unsigned seconds)
{
	pthread_t id;

	if (pthread_create(&id, NULL, ticks_main, (void *)(uintptr_t)seconds))
		broken("no thread");
}

void worker_start(struct worker *worker, unsigned index, const struct run *run, void *shared)
{
	uint64_t share = run->operations / run->threads;

	*worker = (struct worker){
		.index = index,
		.threads = run->threads,
		.operations = share + (index < run->operations % run->threads),
		.random = 0x853c49e6748fea9bull * (index + 1),
		.shared = shared,
	};
	__atomic_store_n(&workers[index], worker, __ATOMIC_RELEASE);
}

/* A thread of workers_run: all wait for each other before they begin. */
struct thread {
	struct worker worker;
	void (*body)(struct worker *worker);
	pthread_barrier_t *barrier;
	pthread_t id;
};

static void *thread_main(void *argument)
{
	struct thread *thread = argument;

	pthread_barrier_wait(thread->barrier);
	thread->body(&thread->worker);
	return NULL;
}

void workers_run(struct run *run, void (*body)(struct worker *worker), void *shared)
{
	static struct thread threads[THREADS_MAX];
	pthread_barrier_t barrier;
	double start;

	pthread_barrier_init(&barrier, NULL, run->threads);
	for (unsigned i = 0; i < run->threads; i++) {
		worker_start(&threads[i].worker, i, run, shared);
		threads[i].body = body;
		threads[i].barrier = &barrier;
	}
	// The main thread is the first worker: with one there is no other thread in the process.
	for (unsigned i = 1; i < run->threads; i++) {
		if (pthread_create(&threads[i].id, NULL, thread_main, &threads[i]))
			broken("no thread");
	}
	start = clock_seconds();
	thread_main(&threads[0]);
	for (unsigned i = 1; i < run->threads; i++)
		pthread_join(threads[i].id, NULL);
	run->seconds = clock_seconds() - start;
	for (unsigned i = 0; i < run->threads; i++)
		run->checksum += threads[i].worker.checksum;
	pthread_barrier_destroy(&barrier);
}

uint64_t proc_kib(const char *file, const char *name)
{
	char path[64], text[8192];
	const char *line;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = 0;
	line = strstr(text, name);
	return line && line[strlen(name)] == ':' ? strtoul(line + strlen(name) + 1, NULL, 10) : 0;
}

void note(struct run *run, const char *format, ...)
{
	size_t used = strlen(run->notes);
	va_list arguments;

	va_start(arguments, format);
	run->notes[used++] = ' ';
	vsnprintf(run->notes + used, sizeof(run->notes) - used, format, arguments);
	va_end(arguments);
}
