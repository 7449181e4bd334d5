/*
 * Atomic access to fields that several threads touch. Thin names over the compiler's builtins: the order is in the name, and works on
 * plain integer types, so that a field's declaration stays readable. Each use says at its field who writes it, and pairs with whom.
 */
#pragma once

#include <stdbool.h>

#define load_relaxed(address) __atomic_load_n((address), __ATOMIC_RELAXED)
#define load_acquire(address) __atomic_load_n((address), __ATOMIC_ACQUIRE)
#define load_seq(address) __atomic_load_n((address), __ATOMIC_SEQ_CST)
#define store_relaxed(address, value) __atomic_store_n((address), (value), __ATOMIC_RELAXED)
#define store_release(address, value) __atomic_store_n((address), (value), __ATOMIC_RELEASE)
#define store_seq(address, value) __atomic_store_n((address), (value), __ATOMIC_SEQ_CST)
#define exchange_seq(address, value) __atomic_exchange_n((address), (value), __ATOMIC_SEQ_CST)
#define add_relaxed(address, value) __atomic_fetch_add((address), (value), __ATOMIC_RELAXED)
#define sub_relaxed(address, value) __atomic_fetch_sub((address), (value), __ATOMIC_RELAXED)
#define or_relaxed(address, value) __atomic_fetch_or((address), (value), __ATOMIC_RELAXED)
#define add_seq(address, value) __atomic_fetch_add((address), (value), __ATOMIC_SEQ_CST)
#define or_seq(address, value) __atomic_fetch_or((address), (value), __ATOMIC_SEQ_CST)
#define and_seq(address, value) __atomic_fetch_and((address), (value), __ATOMIC_SEQ_CST)
#define sub_seq(address, value) __atomic_fetch_sub((address), (value), __ATOMIC_SEQ_CST)

/* True when *address held `expected` and now holds `desired`. Sequentially consistent. */
#define cas_seq(address, expected, desired) \
	({ \
		__typeof__(*(address)) cas_expected_ = (expected); \
		__atomic_compare_exchange_n((address), &cas_expected_, (desired), false, \
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
	})

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield" : : : "memory");
#endif
}
