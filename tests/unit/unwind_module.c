/*
 * A library for tests/unit/unwind.c to open and close.
 */
void unwind_module_enter(void (*call_back)(void));

static __attribute__((noinline)) void unwind_module_step(void (*call_back)(void))
{
	call_back();
	__asm__ volatile("" : : : "memory");
}

void unwind_module_enter(void (*call_back)(void))
{
	unwind_module_step(call_back);
	__asm__ volatile("" : : : "memory");
}
