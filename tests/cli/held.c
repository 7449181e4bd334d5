/*
 * Blocks of which it is known what holds them. Their addresses are printed, then the program waits for the end of its input; with `busy` eight threads work on the heap
 * meanwhile, and what they find wrong, or a signal or child that the program did not make, is told at the end.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIST = 1000, THREADS = 8, SLOTS = 512, HIDDEN_MAX = 2048 };

struct node {
	long value;
	struct node *left, *right;
	char rest[72];
};

struct node *cache;
struct node *list;
struct node *diamond;
static struct node *volatile *mapped;
__thread struct node *volatile own;
static __thread struct node *volatile own_slots[3];

/* What is printed: the program must not hold what nothing shall hold. */
static struct {
	const char *name;
	uintptr_t hidden;
} hidden[HIDDEN_MAX];
static int hidden_count;

__attribute__((noinline)) static struct node *make_node(const char *name, struct node *left)
{
	struct node *node = calloc(1, sizeof(*node));

	node->left = left;
	hidden[hidden_count].name = name;
	hidden[hidden_count++].hidden = ~(uintptr_t)node;
	return node;
}

__attribute__((noinline)) static void make_all(void)
{
	struct node *last, *circle;
	static struct node *kept_inside;

	cache = make_node("a", make_node("b", make_node("c", NULL)));
	last = make_node("diamond-end", NULL);
	diamond = make_node("diamond", make_node("diamond-left", last));
	diamond->right = make_node("diamond-right", last);
	for (int i = 0; i < LIST; i++)
		list = make_node(i == 0 ? "list-end" : i == LIST - 1 ? "list-front" : "list", list);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mapped[100] = make_node("mapped", NULL);
	kept_inside = make_node("static", NULL);
	__asm__ volatile("" : : "r"(&kept_inside) : "memory");
	circle = make_node("circle", NULL);
	circle->left = make_node("circle-other", circle);
	make_node("alone", make_node("under-alone", NULL));
}

/* What earlier calls left on the stack is gone. */
__attribute__((noinline)) static void clear_stack(void)
{
	char room[16384];

	memset(room, 0, sizeof(room));
	__asm__ volatile("" : : "r"(room) : "memory");
}

/* ---- a thread that waits ---- */

static int pipes[2], ready[2];

__attribute__((noinline)) static void serve(void)
{
	struct node *volatile on_stack[1] = {make_node("stack", NULL)};
	char byte = 0;

	own = make_node("own", NULL);
	own_slots[2] = make_node("slot", NULL);
	clear_stack();
	if (write(ready[1], &byte, 1) == 1 && read(pipes[0], &byte, 1) == 0)
		on_stack[0]->value++;
}

static void *serve_thread(void *argument)
{
	serve();
	return argument;
}

/* ---- one that does not wait ---- */

static volatile int is_over, is_spinning;

__attribute__((noinline)) static void spin(void)
{
	struct node *volatile on_stack[1] = {make_node("spinning", NULL)};

	clear_stack();
	is_spinning = 1;
	while (!is_over)
		;
	on_stack[0]->value++;
}

static void *spin_thread(void *argument)
{
	spin();
	return argument;
}

/* ---- threads that work ---- */

static volatile int faults;
static volatile sig_atomic_t signals;

static void count_signal(int number)
{
	(void)number;
	signals++;
}

static void *work(void *argument)
{
	unsigned seed = (unsigned)(uintptr_t)argument;
	struct node **slots = calloc(SLOTS, sizeof(*slots));

	while (!is_over) {
		unsigned place = (seed = seed * 1103515245 + 12345) / 65536 % SLOTS;

		if (slots[place] && slots[place]->value != (long)place)
			faults++;
		free(slots[place]);
		slots[place] = calloc(1, sizeof(**slots) + place * (place % 64 ? 1 : 512));
		slots[place]->value = place;
		slots[place]->left = slots[(place + 1) % SLOTS];
	}
	for (int i = 0; i < SLOTS; i++)
		free(slots[i]);
	free(slots);
	return NULL;
}

static int be_busy(void)
{
	pthread_t threads[THREADS];
	char byte;

	signal(SIGCHLD, count_signal);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)(i + 1));
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) > 0) {
		errno = 0;
		if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
			faults++;
	}
	is_over = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("faults %d signals %d\n", faults, (int)signals);
	return 0;
}

static void print_all(void)
{
	for (int i = 0; i < hidden_count; i++)
		printf("%s %p\n", hidden[i].name, (void *)~hidden[i].hidden);
	puts("ready");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	pthread_t thread, spinner;
	char byte;

	if (argc > 1 && !strcmp(argv[1], "busy"))
		return be_busy();
	make_all();
	if (pipe(pipes) || pipe(ready) || pthread_create(&thread, NULL, serve_thread, NULL) ||
		read(ready[0], &byte, 1) != 1 || pthread_create(&spinner, NULL, spin_thread, NULL))
		return 1;
	while (!is_spinning)
		sched_yield();
	print_all();
	clear_stack();
	while (read(0, &byte, 1) > 0)
		;
	close(pipes[1]);
	is_over = 1;
	pthread_join(thread, NULL);
	pthread_join(spinner, NULL);
	return 0;
}
