/*
 * Blocks that are known only by their inverted address, so that no scan can find them unless a test puts the address somewhere.
 *
 *	uintptr_t hidden = hide_block(64);      // nobody refers to it
 *	put(hidden, &place);                    // now `place` does, and nothing else
 *	collect();
 *	CHECK(is_kept(hidden));
 *
 * A test of a root comes as a pair made by ROOT_TEST: with all scanners the block is kept; with the scanner of that root switched off (checking builds) it
 * must be lost, else the first half proves nothing: something else held the block. After a collection with a scanner off the heap is damaged, so the
 * second half ends the process at once. Where several scanners are named, a comment says who else rightly holds it.
 */
#pragma once

#include "core/base/attr.h"
#include "preload/gasket.h"
#include "tests/harness/frames.h"
#include "tests/harness/test.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT_ALLOCATED = 1, KEPT_HINTED = 2, LOST_PROBATION = 3, KEPT_SAMPLED = 4 };

/* Overwrites the dead part of the stack and all registers that a call may change. */
static NOINLINE UNUSED void scrub(void)
{
	WIPE_STACK(48 * 1024);
	wipe_registers();
}

/* The address itself; whoever calls this has a copy in a register. */
static ALWAYS_INLINE void *reveal(uintptr_t hidden)
{
	__asm__ volatile("not %0" : "+r"(hidden));
	return (void *)hidden;
}

static NOINLINE UNUSED uintptr_t hide_block_dirty(size_t size)
{
	unsigned char *block = malloc(size);

	CHECK_MSG(gasket_collect != NULL, "this test runs under libgasket.so only");
	CHECK_NOT_NULL(block);
	memset(block, 0x55, size);
	return ~(uintptr_t)block;
}

/* A block that nobody refers to. */
static NOINLINE UNUSED uintptr_t hide_block(size_t size)
{
	uintptr_t hidden = hide_block_dirty(size);

	scrub();
	return hidden;
}

/* Stores address + offset at `place`, with the given bits set on top, and leaves no copy. */
static NOINLINE UNUSED void put_tagged(uintptr_t hidden, void *place, size_t offset, uint64_t tag)
{
	__asm__ volatile(
		"not %%rax\n\tadd %1, %%rax\n\tor %2, %%rax\n\tmov %%rax, (%3)\n\txor %%eax, %%eax"
		: "+a"(hidden)
		: "r"(offset), "r"(tag), "r"(place)
		: "memory");
}

static ALWAYS_INLINE void put(uintptr_t hidden, void *place)
{
	put_tagged(hidden, place, 0, 0);
}

/* Stores the address in a block that is hidden itself. */
static NOINLINE UNUSED void put_in_block(uintptr_t hidden, uintptr_t holder, size_t offset)
{
	__asm__ volatile(
		"not %%rax\n\tnot %%rcx\n\tmov %%rax, (%%rcx,%2)\n\txor %%eax, %%eax\n\txor %%ecx, %%ecx"
		: "+a"(hidden), "+c"(holder)
		: "r"(offset)
		: "memory");
}

static NOINLINE UNUSED int state_of(uintptr_t hidden)
{
	return gasket_block_state(reveal(hidden));
}

static UNUSED bool is_kept(uintptr_t hidden)
{
	int state = state_of(hidden);

	return state == KEPT_ALLOCATED || state == KEPT_SAMPLED;
}

static NOINLINE UNUSED void free_hidden(uintptr_t hidden)
{
	free(reveal(hidden));
}

/* A cycle with a verdict. A stop may fail now and then on a busy machine. */
static NOINLINE UNUSED void collect(void)
{
	scrub();
	for (int i = 0; i < 50; i++) {
		if (gasket_collect() == 1)
			return;
		usleep(20000);
	}
	test_fail(__FILE__, __LINE__, "50 cycles in a row gave no verdict");
}

#if CHECKS
#define LOSES_TEST(name, scanner_name, more_options) \
	TEST(name##_loses_it_without_its_scanner, \
		.options = "scribble=0:scan_off=" scanner_name ":" more_options) \
	{ \
		CHECK(!name##_is_kept()); \
		_exit(0); \
	}
#else
#define LOSES_TEST(name, scanner_name, more_options)
#endif

#define ROOT_TEST_UNDER(name, scanner_name, more_options) \
	static bool name##_is_kept(void); \
	TEST(name##_keeps_a_block, .options = more_options) \
	{ \
		CHECK(name##_is_kept()); \
	} \
	LOSES_TEST(name, scanner_name, more_options) \
	static bool name##_is_kept(void)

#define ROOT_TEST(name, scanner_name) ROOT_TEST_UNDER(name, scanner_name, "")
