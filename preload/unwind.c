/*
 * What the compiler needs for our cleanups when a thread is cancelled, or an exception passes, inside a wrapped call: the personality that finds the cleanup,
 * and the call that goes on unwinding after it. Both are libgcc's; taken from its static library they would bring symbols newer than the oldest libc we run
 * on, and a needed shared library could be missing. So they are looked up when unwinding has begun: whoever unwinds has libgcc_s loaded, or we load it.
 *
 * A thread that is unwound waits no more, and dlopen and the unwinder may allocate: it leaves the gate before anything else. (The cleanup finds it left.)
 */
#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/base/check.h"
#include "core/gc/gate.h"
#include "preload/real.h"

#include <stdint.h>
#include <unwind.h>

typedef _Unwind_Reason_Code personality_function(int version, _Unwind_Action actions,
	_Unwind_Exception_Class class, struct _Unwind_Exception *exception,
	struct _Unwind_Context *context);

personality_function __gcc_personality_v0 HIDDEN;

static void leave_gate(void)
{
	struct gate_frame *frame;

	gate_suspend(&frame);
}

static void *find(const char *name)
{
	void *library = REAL(dlopen)("libgcc_s.so.1", RTLD_LAZY);
	void *function = library ? dlsym(library, name) : 0;

	if (!function)
		fatal("a thread is unwound but libgcc_s.so.1 is not there");
	return function;
}

_Unwind_Reason_Code __gcc_personality_v0(int version, _Unwind_Action actions,
	_Unwind_Exception_Class class, struct _Unwind_Exception *exception,
	struct _Unwind_Context *context)
{
	static personality_function *real_one;
	personality_function *function = load_relaxed(&real_one);

	leave_gate();
	if (!function) {
		function = (personality_function *)find("__gcc_personality_v0");
		store_relaxed(&real_one, function);
	}
	return function(version, actions, class, exception, context);
}

void _Unwind_Resume(struct _Unwind_Exception *exception)
{
	static void (*real_one)(struct _Unwind_Exception *);
	void (*function)(struct _Unwind_Exception *) = load_relaxed(&real_one);

	leave_gate(); // the cleanup of a handler's frame has entered it again
	if (!function) {
		function = (void (*)(struct _Unwind_Exception *))find("_Unwind_Resume");
		store_relaxed(&real_one, function);
	}
	function(exception);
	__builtin_unreachable();
}
