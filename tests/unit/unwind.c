/*
 * Stacks of code as distributions build it: -O2, without frame pointers. Each test knows the functions it goes through and wants exactly those,
 * in order, with nothing between.
 */
#include "core/base/option.h"
#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/symbol.h"
#include "core/profile/unwind.h"
#include "tests/harness/frames.h"
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static uintptr_t frames[STACK_DEPTH_MAX];
static unsigned frame_count;

/* Not part of any expected stack: skipped by its own frame address. */
static KEEP void take_stack(void)
{
	frame_count = unwind_capture(frames, STACK_DEPTH_MAX, __builtin_frame_address(0));
	AFTER_CALL;
}

static const char *name_of(unsigned index)
{
	struct symbol symbol;

	if (index >= frame_count || !symbol_find(frames[index] - 1, module_epoch(), &symbol) ||
		!symbol.function)
		return "?";
	return symbol.function;
}

static void check_names(const char *const *names)
{
	for (unsigned i = 0; names[i]; i++)
		CHECK_STR_EQ(name_of(i), names[i]);
}
#define CHECK_NAMES(...) check_names((const char *const[]){__VA_ARGS__, NULL})

static KEEP int inner(int value)
{
	take_stack();
	return value + (int)frame_count;
}

static KEEP int middle(int value)
{
	char text[200];

	memset(text, value, sizeof(text));
	__asm__ volatile("" : : "r"(text) : "memory");
	return inner(value) + text[7];
}

static KEEP int outer(int value)
{
	return middle(value + 1) * 2;
}

TEST(names_every_function_of_code_without_frame_pointers)
{
	outer(1);
	CHECK_NAMES("inner", "middle", "outer",
		"test_body_names_every_function_of_code_without_frame_pointers");
}

TEST(goes_on_to_the_first_function_of_the_process)
{
	outer(1);
	CHECK_STR_EQ(name_of(frame_count - 1), "_start");
}

static KEEP int compare(const void *a, const void *b)
{
	if (frame_count == 0)
		inner(1);
	AFTER_CALL;
	return *(const int *)a - *(const int *)b;
}

static KEEP void sort(void)
{
	int values[40];

	for (int i = 0; i < 40; i++)
		values[i] = 40 - i;
	qsort(values, 40, sizeof(values[0]), compare);
	AFTER_CALL;
}

static int index_of(const char *name)
{
	for (unsigned i = 0; i < frame_count; i++) {
		if (strcmp(name_of(i), name) == 0)
			return (int)i;
	}
	return -1;
}

TEST(goes_through_callbacks_of_libc)
{
	sort();
	CHECK_NAMES("inner", "compare");
	CHECK_GT(index_of("sort"), 2);
	CHECK_STR_EQ(name_of((unsigned)index_of("sort") + 1),
		"test_body_goes_through_callbacks_of_libc");
}

/* A variable-length array: the frame is found by rbp. An over-aligned local: by a saved pointer. */
static KEEP int with_array(int count)
{
	volatile char array[count];

	array[0] = 1;
	return inner(count) + array[0];
}

static KEEP int with_alignment(int count)
{
	volatile char local[64] __attribute__((aligned(64)));
	volatile char array[count];

	local[0] = array[0] = (char)count;
	return with_array(count) + local[0] + array[0];
}

static KEEP int with_wide_alignment(int a, int b, int c, int d, int e, int f, int on_stack)
{
	volatile char local[128] __attribute__((aligned(128)));

	local[0] = (char)(a + b + c + d + e + f + on_stack);
	return with_alignment(on_stack) + local[0];
}

TEST(goes_through_realigned_and_variable_frames)
{
	with_wide_alignment(1, 2, 3, 4, 5, 6, 7);
	CHECK_NAMES("inner", "with_array", "with_alignment", "with_wide_alignment",
		"test_body_goes_through_realigned_and_variable_frames");
}

static void on_signal(int number)
{
	(void)number;
	inner(2);
}

static KEEP void interrupted(void)
{
	raise(SIGUSR1);
	AFTER_CALL;
}

TEST(goes_through_signal_frames)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &action, NULL);
	interrupted();
	CHECK_NAMES("inner", "on_signal");
	CHECK_GT(index_of("interrupted"), 2);
}

TEST(goes_from_an_alternate_stack_to_the_interrupted_one)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	stack_t stack = {.ss_size = 65536,
		.ss_sp = mmap(
			NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	sigaction(SIGUSR1, &action, NULL);
	interrupted();
	CHECK_NAMES("inner", "on_signal");
	CHECK_GT(index_of("interrupted"), 2);
}

static sigjmp_buf back;
static volatile int may_jump;

static void jump(int number)
{
	(void)number;
	if (may_jump) {
		may_jump = 0;
		siglongjmp(back, 1);
	}
}

TEST(a_handler_may_jump_out_of_a_walk)
{
	static volatile int jumps;
	struct itimerval period = {{0, 100}, {0, 100}}, none = {0};

	CHECK(signal(SIGALRM, jump) != SIG_ERR);
	if (sigsetjmp(back, 1) != 0)
		jumps++;
	else
		setitimer(ITIMER_REAL, &period, NULL);
	while (jumps < 1000) {
		may_jump = 1;
		take_stack();
		may_jump = 0;
	}
	setitimer(ITIMER_REAL, &none, NULL);
	outer(1);
	CHECK_NAMES("inner", "middle", "outer");
}

static void *thread_body(void *argument)
{
	outer(1);
	return argument;
}

TEST(ends_where_a_thread_begins)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, thread_body, NULL), 0);
	pthread_join(thread, NULL);
	CHECK_NAMES("inner", "middle", "outer", "thread_body");
	CHECK_LE(frame_count, 8u); // a sanitizer adds a frame of its own
}

static KEEP void call_back(void)
{
	inner(3);
	AFTER_CALL;
}

TEST(names_functions_of_a_library_opened_later_and_closed_since)
{
	void *handle = dlopen(UNWIND_MODULE, RTLD_NOW);
	void (*enter)(void (*)(void));
	uint32_t epoch;
	struct symbol symbol;

	CHECK(modules_scan());
	CHECK_MSG(handle, "%s", dlerror());
	enter = (void (*)(void (*)(void)))dlsym(handle, "unwind_module_enter");
	enter(call_back);
	CHECK_NAMES("inner", "call_back", "unwind_module_step", "unwind_module_enter",
		"test_body_names_functions_of_a_library_opened_later_and_closed_since");
	epoch = module_epoch();
	CHECK_EQ(dlclose(handle), 0);
	symbols_close();
	CHECK(modules_scan());
	CHECK_NULL(module_find_known(frames[2]));
	CHECK(symbol_find(frames[2] - 1, epoch, &symbol));
	CHECK_STR_EQ(symbol.function, "unwind_module_step");
}

TEST(same_stack_with_and_without_known_bounds)
{
	uintptr_t copy[STACK_DEPTH_MAX];
	unsigned count = 0;

	for (volatile int round = 0; round < 2; round++) {
		outer(1);
		if (round == 0) {
			count = frame_count;
			memcpy(copy, frames, sizeof(copy));
			unwind_set_stack((uintptr_t)__builtin_frame_address(0) - 65536,
				(uintptr_t)__builtin_frame_address(0) + 256);
		}
	}
	CHECK_EQ(frame_count, count);
	CHECK_MEM_EQ(copy, frames, count * sizeof(copy[0]));
}

/* What a just-in-time compiler emits: push rbp; mov rbp, rsp; call *rdi; pop rbp; ret. */
static const unsigned char made_code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};

static KEEP void call_made_code(void *code)
{
	((void (*)(void (*)(void)))code)(call_back);
	AFTER_CALL;
}

TEST(follows_the_frame_pointer_through_made_code)
{
	void *code = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(code, made_code, sizeof(made_code));
	call_made_code(code);
	CHECK_NAMES("inner", "call_back", "?", "call_made_code");
	CHECK_EQ(frames[2], (uintptr_t)code + 6);
}

/* The same without a frame pointer, and rbp pointing nowhere: sub rsp, 8; xor ebp, ebp ...; the walk ends, nothing is invented. */
static const unsigned char made_code_without[] = {
	0x55, 0x48, 0xc7, 0xc5, 0x10, 0x00, 0x00, 0x00, 0xff, 0xd7, 0x5d, 0xc3};

TEST(ends_where_nothing_is_known)
{
	void *code = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(code, made_code_without, sizeof(made_code_without));
	call_made_code(code);
	CHECK_NAMES("inner", "call_back", "?");
	CHECK_EQ(frame_count, 3u);
}

TEST(captures_stacks_with_one_id_for_one_path)
{
	uint32_t ids[3];

	options_reset();
	for (volatile int round = 0; round < 2; round++) {
		ids[round] = stack_capture(NULL);
		AFTER_CALL;
	}
	ids[2] = stack_capture(NULL);
	CHECK_NE(ids[0], 0u);
	CHECK_EQ(ids[0], ids[1]);
	CHECK_NE(ids[0], ids[2]);
	options.stacks = STACKS_OFF;
	CHECK_EQ(stack_capture(NULL), 0u);
}
