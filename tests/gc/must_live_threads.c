/*
 * Must live: the address is known to another thread only, in a register, on its stack, in its storage, between its birth and its first step, after its end.
 */
#include "tests/gc/hidden.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { PAGE = 4096 };

/* What a thread of these tests is told, and tells. */
struct job {
	uintptr_t hidden;
	volatile int ready;
	volatile int stop;
	int descriptors[2];
};

static void start_and_wait(pthread_t *thread, void *(*routine)(void *), struct job *job)
{
	CHECK_EQ(pthread_create(thread, NULL, routine, job), 0);
	while (!job->ready)
		usleep(1000);
	usleep(20000); // let it come to rest in the call it is about to make
}

static bool is_kept_while(void *(*routine)(void *))
{
	static struct job job;
	pthread_t thread;
	bool kept;

	job.hidden = hide_block(64);
	CHECK_EQ(pipe(job.descriptors), 0);
	start_and_wait(&thread, routine, &job);
	collect();
	kept = is_kept(job.hidden);
	job.stop = 1;
	CHECK_EQ(write(job.descriptors[1], "x", 1), 1);
	if (!kept) // the heap is damaged: nothing more of it may be used
		return false;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return true;
}

/* ---- registers ---- */

/* Spins with the address in one register and nowhere else. `load` takes it from rax, `clear` overwrites it. */
#define SPIN(load, clear, ...) \
	__asm__ volatile("mov %0, %%rax\n\tnot %%rax\n\t" load \
			 "\n\txor %%eax, %%eax\n\tmovl $1, %1\n" \
			 "1:\tpause\n\tcmpl $0, %2\n\tje 1b\n\t" clear \
			 : "+m"(job->hidden), "+m"(job->ready) \
			 : "m"(job->stop) \
			 : "rax", "memory", ##__VA_ARGS__)

#define REGISTER_TEST(name) \
	static NOINLINE void *hold_in_##name(void *argument) \
	{ \
		struct job *job = argument; \
		SPIN("mov %%rax, %%" #name, "xor %%" #name ", %%" #name, #name); \
		return NULL; \
	} \
	ROOT_TEST(register_##name, "registers") \
	{ \
		return is_kept_while(hold_in_##name); \
	}

REGISTER_TEST(rbx)
REGISTER_TEST(r12)
REGISTER_TEST(r13)
REGISTER_TEST(r14)
REGISTER_TEST(r15)
REGISTER_TEST(rcx)
REGISTER_TEST(rdx)
REGISTER_TEST(rsi)
REGISTER_TEST(rdi)
REGISTER_TEST(r8)
REGISTER_TEST(r9)
REGISTER_TEST(r10)
REGISTER_TEST(r11)

/* rbp by hand, for the compiler may need it to find `job`. */
static NOINLINE void *hold_in_rbp(void *argument)
{
	struct job *job = argument;

	__asm__ volatile("push %%rbp\n\tmov (%%rdi), %%rbp\n\tnot %%rbp\n\tmovl $1, %c1(%%rdi)\n"
			 "1:\tpause\n\tcmpl $0, %c2(%%rdi)\n\tje 1b\n\tpop %%rbp"
			 : "+D"(job)
			 : "i"(offsetof(struct job, ready)), "i"(offsetof(struct job, stop))
			 : "memory");
	return NULL;
}

ROOT_TEST(register_rbp, "registers")
{
	return is_kept_while(hold_in_rbp);
}

static NOINLINE void *hold_in_xmm(void *argument)
{
	struct job *job = argument;

	SPIN("movq %%rax, %%xmm13\n\tpslldq $8, %%xmm13", "pxor %%xmm13, %%xmm13", "xmm13");
	return NULL;
}

ROOT_TEST(register_xmm, "registers")
{
	return is_kept_while(hold_in_xmm);
}

__attribute__((target("avx"))) static NOINLINE void *hold_in_ymm(void *argument)
{
	struct job *job = argument;

	SPIN("vmovq %%rax, %%xmm13\n\tvinsertf128 $1, %%xmm13, %%ymm13, %%ymm14\n\tvpxor %%xmm13, %%xmm13, %%xmm13\n\t"
	     "vinsertf128 $0, %%xmm13, %%ymm14, %%ymm14",
		"vzeroall", "xmm13", "xmm14");
	return NULL;
}

ROOT_TEST(upper_half_of_ymm, "registers")
{
	if (!__builtin_cpu_supports("avx"))
		test_skip("no AVX");
	return is_kept_while(hold_in_ymm);
}

/* ---- system calls ---- */

/* The buffer is named by the call's argument alone; the pipe is empty, so the call waits. Our wrapper keeps the argument in its frame and in a register
 * that the call preserves. */
static NOINLINE void *wait_in_wrapped_read(void *argument)
{
	struct job *job = argument;

	scrub();
	job->ready = 1;
	return (void *)read(job->descriptors[0], reveal(job->hidden), 1);
}

ROOT_TEST(argument_of_a_wrapped_call, "registers+stacks")
{
	return is_kept_while(wait_in_wrapped_read);
}

static NOINLINE void *wait_in_raw_read(void *argument)
{
	struct job *job = argument;

	job->ready = 1;
	__asm__ volatile(
		"not %%rsi\n1:\txor %%eax, %%eax\n\tsyscall\n\tcmp $-4, %%rax\n\tje 1b\n\txor %%esi, %%esi"
		:
		: "D"((long)job->descriptors[0]), "S"(job->hidden), "d"(1L)
		: "rax", "rcx", "r11", "memory");
	return NULL;
}

ROOT_TEST(argument_of_a_raw_system_call, "registers")
{
	return is_kept_while(wait_in_raw_read);
}

/* ---- stacks ---- */

static NOINLINE void *hold_on_stack_spinning(void *argument)
{
	struct job *job = argument;
	volatile uintptr_t words[64] = {0};

	put(job->hidden, (void *)&words[30]);
	scrub();
	job->ready = 1;
	while (!job->stop)
		__asm__ volatile("pause");
	return NULL;
}

ROOT_TEST(stack_of_a_running_thread, "stacks")
{
	return is_kept_while(hold_on_stack_spinning);
}

static NOINLINE void *hold_on_stack_waiting(void *argument)
{
	struct job *job = argument;
	volatile uintptr_t words[64] = {0};
	char byte;

	put(job->hidden, (void *)&words[30]);
	scrub();
	job->ready = 1;
	CHECK_EQ(read(job->descriptors[0], &byte, 1), 1);
	return NULL;
}

ROOT_TEST(stack_of_a_waiting_thread, "stacks")
{
	return is_kept_while(hold_on_stack_waiting);
}

/* Below the stack pointer, where a leaf function may keep things. */
static NOINLINE void *hold_in_red_zone(void *argument)
{
	struct job *job = argument;

	scrub();
	__asm__ volatile(
		"mov (%%rdi), %%rax\n\tnot %%rax\n\tmov %%rax, -120(%%rsp)\n\txor %%eax, %%eax\n\tmovl $1, %c1(%%rdi)\n"
		"1:\tpause\n\tcmpl $0, %c2(%%rdi)\n\tje 1b"
		: "+D"(job)
		: "i"(offsetof(struct job, ready)), "i"(offsetof(struct job, stop))
		: "rax", "memory");
	return NULL;
}

ROOT_TEST(red_zone, "stacks")
{
	return is_kept_while(hold_in_red_zone);
}

/* Runs `routine(job)` with the stack pointer at `top`, without leaving a trace of where that is. */
static NOINLINE void run_on_hidden_stack(
	uintptr_t hidden_top, void *(*routine)(void *), struct job *job)
{
	__asm__ volatile(
		"mov %%rsp, %%rbx\n\tnot %0\n\tmov %0, %%rsp\n\txor %0, %0\n\tcall *%1\n\tmov %%rbx, %%rsp"
		: "+r"(hidden_top)
		: "r"(routine), "D"(job)
		: "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
}

enum { FIBRE_BYTES = 256 * 1024 };
static uintptr_t fibre_block; // hidden

static NOINLINE void *hold_on_heap_fibre(void *argument)
{
	struct job *job = argument;

	run_on_hidden_stack(fibre_block - (FIBRE_BYTES - 64), hold_on_stack_spinning, job);
	return NULL;
}

/* The stack pointer is both where the thread stands and one of its registers. */
ROOT_TEST(fibre_running_on_a_heap_block, "stacks+registers")
{
	fibre_block = hide_block(FIBRE_BYTES);
	return is_kept_while(hold_on_heap_fibre);
}

static NOINLINE void *hold_on_mapped_fibre(void *argument)
{
	struct job *job = argument;
	char *memory =
		mmap(NULL, FIBRE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	run_on_hidden_stack(~((uintptr_t)memory + FIBRE_BYTES - 64), hold_on_stack_spinning, job);
	return NULL;
}

ROOT_TEST(fibre_running_on_a_mapping, "mappings")
{
	return is_kept_while(hold_on_mapped_fibre);
}

/* The thread's own stack, while it runs on a fibre: its depth is known to nobody. */
static NOINLINE void *hold_nothing(void *argument)
{
	struct job *job = argument;

	job->ready = 1;
	while (!job->stop)
		__asm__ volatile("pause");
	return NULL;
}

static NOINLINE void *leave_on_own_stack_and_run_on_fibre(void *argument)
{
	struct job *job = argument;
	volatile uintptr_t words[64] = {0};
	char *memory =
		mmap(NULL, FIBRE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	put(job->hidden, (void *)&words[30]);
	run_on_hidden_stack(~((uintptr_t)memory + FIBRE_BYTES - 64), hold_nothing, job);
	return NULL;
}

ROOT_TEST(own_stack_of_a_thread_on_a_fibre, "stacks")
{
	return is_kept_while(leave_on_own_stack_and_run_on_fibre);
}

/* A parked fibre: its stack is memory that its context names. */
static ucontext_t main_context, fibre_context;
static struct job *fibre_job;

static void fibre_body(void)
{
	volatile uintptr_t words[16] = {0};

	put(fibre_job->hidden, (void *)&words[7]);
	swapcontext(&fibre_context, &main_context);
}

static NOINLINE void park_fibre_on(uintptr_t hidden_stack)
{
	CHECK_EQ(getcontext(&fibre_context), 0);
	fibre_context.uc_stack.ss_sp = reveal(hidden_stack);
	fibre_context.uc_stack.ss_size = FIBRE_BYTES;
	makecontext(&fibre_context, fibre_body, 0);
	CHECK_EQ(swapcontext(&main_context, &fibre_context), 0);
}

static bool is_kept_by_parked_fibre(uintptr_t hidden_stack)
{
	static struct job job;

	job.hidden = hide_block(64);
	fibre_job = &job;
	park_fibre_on(hidden_stack);
	collect();
	return is_kept(job.hidden);
}

ROOT_TEST(fibre_parked_on_a_heap_block, "data_segments")
{
	return is_kept_by_parked_fibre(hide_block(FIBRE_BYTES));
}

ROOT_TEST(fibre_parked_on_a_mapping, "mappings")
{
	return is_kept_by_parked_fibre(~(uintptr_t)mmap(
		NULL, FIBRE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* A fibre on an array of its thread: what the thread did before lies below it. */
static struct job inner_job;

static void inner_fibre_body(void)
{
	inner_job.ready = 1;
	while (!inner_job.stop)
		__asm__ volatile("pause");
}

static NOINLINE void wait_deeper_for_fibre(void)
{
	volatile uintptr_t words[64] = {0};

	put(inner_job.hidden, (void *)&words[30]);
	scrub();
	CHECK_EQ(swapcontext(&main_context, &fibre_context), 0);
	__asm__ volatile("" : : "r"(words) : "memory");
}

static NOINLINE void *run_fibre_on_own_stack(void *argument)
{
	char stack[FIBRE_BYTES];

	CHECK_EQ(getcontext(&fibre_context), 0);
	fibre_context.uc_stack.ss_sp = stack;
	fibre_context.uc_stack.ss_size = sizeof(stack);
	fibre_context.uc_link = &main_context;
	makecontext(&fibre_context, inner_fibre_body, 0);
	wait_deeper_for_fibre();
	return argument;
}

ROOT_TEST(stack_below_a_fibre_on_the_same_stack, "stacks")
{
	pthread_t thread;

	inner_job.hidden = hide_block(64);
	CHECK_EQ(pthread_create(&thread, NULL, run_fibre_on_own_stack, NULL), 0);
	while (!inner_job.ready)
		usleep(1000);
	collect();
	if (!is_kept(inner_job.hidden))
		return false;
	inner_job.stop = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return true;
}

static int sum;

static void add_arguments(int a, int b, int c, int d, int e, int f, int g, int h)
{
	sum = a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
	swapcontext(&fibre_context, &main_context);
}

TEST(makecontext_passes_all_its_arguments)
{
	static char stack[FIBRE_BYTES];

	CHECK_EQ(getcontext(&fibre_context), 0);
	fibre_context.uc_stack.ss_sp = stack;
	fibre_context.uc_stack.ss_size = sizeof(stack);
	makecontext(&fibre_context, (void (*)(void))add_arguments, 8, 1, 2, 3, 4, 5, 6, 7, 8);
	CHECK_EQ(swapcontext(&main_context, &fibre_context), 0);
	CHECK_EQ(sum, 204);
}

/* ---- threads that libc knows nothing of ---- */

static struct job raw_job;

/* Runs on a stack of its own and with the thread-local storage of its creator, so it calls nothing that uses either. */
static int hold_in_raw_thread(void *argument)
{
	hold_in_rbx(argument);
	__asm__ volatile("syscall" : : "a"(SYS_exit), "D"(0));
	return 0;
}

/* Either the thread is seen, or there is no verdict. */
TEST(thread_made_by_raw_clone_keeps_what_its_register_holds)
{
	const int flags =
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	char *stack =
		mmap(NULL, FIBRE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	raw_job.hidden = hide_block(64);
	CHECK_GT(clone(hold_in_raw_thread, stack + FIBRE_BYTES - 64, flags, &raw_job), 0);
	while (!raw_job.ready)
		usleep(1000);
	for (int i = 0; i < 5; i++)
		gasket_collect();
	CHECK(is_kept(raw_job.hidden));
	raw_job.stop = 1;
}

/* ---- storage ---- */

static __thread uintptr_t thread_word;

static NOINLINE void *hold_in_tls(void *argument)
{
	struct job *job = argument;

	put(job->hidden, &thread_word);
	scrub();
	job->ready = 1;
	while (!job->stop)
		usleep(1000);
	return NULL;
}

ROOT_TEST(tls_of_a_thread, "thread_storage")
{
	return is_kept_while(hold_in_tls);
}

static NOINLINE void put_in_library_tls(struct job *job, void *(*word)(void))
{
	put(job->hidden, word());
}

static NOINLINE void *hold_in_library_tls(void *argument)
{
	struct job *job = argument;
	void *library = dlopen(TLS_LIBRARY, RTLD_NOW);

	CHECK_MSG(library != NULL, "%s", dlerror());
	put_in_library_tls(job, (void *(*)(void))dlsym(library, "library_word"));
	scrub();
	job->ready = 1;
	while (!job->stop)
		usleep(1000);
	return NULL;
}

ROOT_TEST(tls_of_a_loaded_library, "thread_storage")
{
	return is_kept_while(hold_in_library_tls);
}

static pthread_key_t key;

static NOINLINE void set_key(struct job *job)
{
	CHECK_EQ(pthread_setspecific(key, reveal(job->hidden)), 0);
}

static NOINLINE void *hold_in_key(void *argument)
{
	struct job *job = argument;

	set_key(job);
	scrub();
	job->ready = 1;
	while (!job->stop)
		usleep(1000);
	return NULL;
}

ROOT_TEST(pthread_key, "thread_storage")
{
	CHECK_EQ(pthread_key_create(&key, NULL), 0);
	return is_kept_while(hold_in_key);
}

ROOT_TEST(pthread_key_beyond_the_first_block, "thread_storage")
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(pthread_key_create(&key, NULL), 0);
	return is_kept_while(hold_in_key);
}

/* ---- birth and death ---- */

static void *finish(void *argument)
{
	return argument;
}

static NOINLINE void create_with(pthread_t *thread, uintptr_t hidden)
{
	CHECK_EQ(pthread_create(thread, NULL, finish, reveal(hidden)), 0);
}

/* From late_start.c: while it is held, pthread_create returns before the thread exists. */
extern void late_start_hold(void);
extern void late_start_release(void);

ROOT_TEST(argument_of_a_thread_that_has_not_started, "thread_storage")
{
	uintptr_t hidden;
	pthread_t thread;

	hide_block(64);
	collect(); // now the collector's own thread exists: it is not to be held
	hidden = hide_block(64);
	late_start_hold();
	create_with(&thread, hidden);
	collect();
	if (!is_kept(hidden))
		return false;
	late_start_release();
	return true;
}

static NOINLINE bool join_gives(pthread_t thread, uintptr_t hidden)
{
	void *result;

	CHECK_EQ(pthread_join(thread, &result), 0);
	return result == reveal(hidden);
}

static pthread_key_t at_end;

/* The last calls with the result in a register leave it on the stack, which is read until the thread is joined: a destructor runs over them. */
static void scrub_at_end(void *argument)
{
	(void)argument;
	scrub();
}

static void *finish_without_remains(void *argument)
{
	pthread_setspecific(at_end, &at_end);
	return argument;
}

static NOINLINE void create_without_remains(pthread_t *thread, uintptr_t hidden)
{
	CHECK_EQ(pthread_create(thread, NULL, finish_without_remains, reveal(hidden)), 0);
}

ROOT_TEST(result_that_nobody_has_joined, "thread_storage")
{
	uintptr_t hidden = hide_block(64);
	pthread_t thread;

	CHECK_EQ(pthread_key_create(&at_end, scrub_at_end), 0);
	create_without_remains(&thread, hidden);
	usleep(50000);
	collect();
	return is_kept(hidden) && join_gives(thread, hidden);
}

/* Thousands of threads that check what they were given, with collections all the time. */
static void *check_argument(void *argument)
{
	uint64_t *block = argument;

	CHECK_EQ(block[0], 0x1234567890abcdefull);
	block[1]++;
	return block;
}

static void *churn(void *argument)
{
	volatile int *stop = argument;

	while (!*stop) {
		pthread_t threads[8];

		for (int i = 0; i < 8; i++) {
			uint64_t *block = malloc(48);

			block[0] = 0x1234567890abcdefull;
			block[1] = 0;
			CHECK_EQ(pthread_create(&threads[i], NULL, check_argument, block), 0);
		}
		for (int i = 0; i < 8; i++) {
			void *result;

			CHECK_EQ(pthread_join(threads[i], &result), 0);
			CHECK_EQ(((uint64_t *)result)[0], 0x1234567890abcdefull);
			CHECK_EQ(((uint64_t *)result)[1], 1u);
			free(result);
		}
	}
	return NULL;
}

TEST(arguments_and_results_survive_cycles_back_to_back, .limit_seconds = 30)
{
	static volatile int stop;
	pthread_t churners[2];
	int verdicts = 0;

	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&churners[i], NULL, churn, (void *)&stop), 0);
	for (int i = 0; i < 200; i++)
		verdicts += gasket_collect();
	stop = 1;
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(churners[i], NULL), 0);
	CHECK_GT(verdicts, 50);
}
