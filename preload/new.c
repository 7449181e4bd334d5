/*
 * C++ operators new and delete. A C library can neither throw nor catch, so whoever runs out of memory is handed to libstdc++: its functions for the new
 * handler and for throwing bad_alloc are looked up when needed, and a failing nothrow form is left to libstdc++'s own, which calls the throwing form here and
 * catches. Sizes and alignments given to delete are hints, for real programs get them wrong; sized_free.h
 * says when they are looked at.
 */
#include "core/alloc/alloc.h"
#include "core/alloc/fast.h"
#include "core/alloc/sized_free.h"
#include "core/base/arith.h"
#include "core/base/attr.h"
#include "core/base/check.h"
#include "core/heap/size_class.h"
#include "preload/libc_versions.h"

#include <dlfcn.h>
#include <stdlib.h>

/* A symbol of whatever libstdc++ the program has, or NULL. */
static void *find_in_libstdcxx(const char *name)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);
	void *library;

	if (symbol)
		return symbol;
	library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
	return library ? dlsym(library, name) : 0;
}

#define HIDDEN_ALIAS(name, target) \
	extern __typeof__(target) name __attribute__((alias(#target), visibility("hidden")))

static void *allocate(size_t size, size_t alignment)
{
	return alignment > GRANULE_BYTES ? alloc_aligned(alignment, size) : alloc_malloc(size);
}

/* As the standard says: the new handler is called until there is memory, or no handler, and then bad_alloc is thrown. */
static COLD void *allocate_or_throw(size_t size, size_t alignment)
{
	void (*(*get_handler)(void))(void) =
		(void (*(*)(void))(void))find_in_libstdcxx("_ZSt15get_new_handlerv");
	void (*throw_bad_alloc)(void) =
		(void (*)(void))find_in_libstdcxx("_ZSt17__throw_bad_allocv");

	for (;;) {
		void (*handler)(void) = get_handler ? get_handler() : 0;
		void *block;

		if (!handler)
			break;
		handler();
		block = allocate(size, alignment);
		if (block)
			return block;
	}
	if (throw_bad_alloc)
		throw_bad_alloc();
	fatal("out of memory in operator new");
}

static ALWAYS_INLINE void *operator_new(size_t size, size_t alignment)
{
	void *block = allocate(size, alignment);

	return LIKELY(block != 0) ? block : allocate_or_throw(size, alignment);
}

/* libstdc++'s own nothrow form, which knows how to catch what the handler throws. */
static COLD void *retry_nothrow(const char *name, size_t size, size_t alignment, const void *tag)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		return 0;
	if (alignment > 0)
		return ((void *(*)(size_t, size_t, const void *))function)(size, alignment, tag);
	return ((void *(*)(size_t, const void *))function)(size, tag);
}

/*
 * A program may replace some of these and not others; as in libstdc++ the other forms then end in the replaced ones. So a form calls its simpler form by
 * its public name, which the loader binds to the program's if it has one. The hidden names below are always ours: they tell which it is.
 */
void *_Znwm(size_t size);
void *_ZnwmSt11align_val_t(size_t size, size_t alignment);
void _ZdlPv(void *pointer);
void _ZdaPv(void *pointer);
void _ZdlPvSt11align_val_t(void *pointer, size_t alignment);
void _ZdaPvSt11align_val_t(void *pointer, size_t alignment);
HIDDEN_ALIAS(own_new, _Znwm);
HIDDEN_ALIAS(own_new_aligned, _ZnwmSt11align_val_t);

EXPORT void *_Znwm(size_t size)
{
	return operator_new(size, 0);
}

EXPORT void *_ZnwmSt11align_val_t(size_t size, size_t alignment)
{
	return operator_new(size, alignment);
}

void *_Znam(size_t size);
EXPORT void *_Znam(size_t size)
{
	return _Znwm(size);
}

void *_ZnamSt11align_val_t(size_t size, size_t alignment);
EXPORT void *_ZnamSt11align_val_t(size_t size, size_t alignment)
{
	return _ZnwmSt11align_val_t(size, alignment);
}

#define NEW_NOTHROW(name) \
	void *name(size_t size, const void *tag); \
	EXPORT void *name(size_t size, const void *tag) \
	{ \
		void *block = LIKELY(_Znwm == own_new) ? allocate(size, 0) : 0; \
		return LIKELY(block != 0) ? block : retry_nothrow(#name, size, 0, tag); \
	}
#define NEW_ALIGNED_NOTHROW(name) \
	void *name(size_t size, size_t alignment, const void *tag); \
	EXPORT void *name(size_t size, size_t alignment, const void *tag) \
	{ \
		void *block = LIKELY(_ZnwmSt11align_val_t == own_new_aligned) \
				      ? allocate(size, alignment) \
				      : 0; \
		return LIKELY(block != 0) ? block : retry_nothrow(#name, size, alignment, tag); \
	}

NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)

EXPORT void _ZdlPv(void *pointer)
{
	alloc_free_fast(pointer);
}

EXPORT void _ZdlPvSt11align_val_t(void *pointer, size_t alignment)
{
	(void)alignment;
	alloc_free(pointer);
}

EXPORT void _ZdaPv(void *pointer)
{
	_ZdlPv(pointer);
}

EXPORT void _ZdaPvSt11align_val_t(void *pointer, size_t alignment)
{
	_ZdlPvSt11align_val_t(pointer, alignment);
}

/* Of blocks that our own operator new made. */
static COLD NOINLINE void check_deleted_slow(const void *pointer, size_t size, size_t alignment)
{
	if (_Znwm == own_new && _ZnwmSt11align_val_t == own_new_aligned)
		alloc_check_freed(pointer, size, alignment, true);
}

static ALWAYS_INLINE void check_deleted(const void *pointer, size_t size, size_t alignment)
{
	if (alloc_checks_freed())
		check_deleted_slow(pointer, size, alignment);
}

#define DELETE_SIZED(name, simpler) \
	void name(void *pointer, size_t size); \
	EXPORT void name(void *pointer, size_t size) \
	{ \
		check_deleted(pointer, size, 0); \
		simpler(pointer); \
	}
/* The nothrow tag is in a register nobody reads. */
#define DELETE(name, simpler) \
	void name(void *pointer); \
	EXPORT void name(void *pointer) \
	{ \
		simpler(pointer); \
	}
#define DELETE_SIZED_ALIGNED(name, simpler) \
	void name(void *pointer, size_t size, size_t alignment); \
	EXPORT void name(void *pointer, size_t size, size_t alignment) \
	{ \
		check_deleted(pointer, size, alignment); \
		simpler(pointer, alignment); \
	}
#define DELETE_ALIGNED(name, simpler) \
	void name(void *pointer, size_t alignment); \
	EXPORT void name(void *pointer, size_t alignment) \
	{ \
		simpler(pointer, alignment); \
	}

DELETE_SIZED(_ZdlPvm, _ZdlPv)
DELETE_SIZED(_ZdaPvm, _ZdaPv)
DELETE(_ZdlPvRKSt9nothrow_t, _ZdlPv)
DELETE(_ZdaPvRKSt9nothrow_t, _ZdaPv)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t, _ZdlPvSt11align_val_t)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t, _ZdaPvSt11align_val_t)
DELETE_ALIGNED(_ZdlPvSt11align_val_tRKSt9nothrow_t, _ZdlPvSt11align_val_t)
DELETE_ALIGNED(_ZdaPvSt11align_val_tRKSt9nothrow_t, _ZdaPvSt11align_val_t)
