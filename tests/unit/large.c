/*
 * Large blocks: moving pages instead of copying goes on for ever, and a refused system call leaves nothing broken.
 */
#include "tests/harness/test.h"

#include "core/heap/heap.h"
#include "core/heap/large.h"
#include "core/heap/page_heap.h"
#include "core/heap/sweep.h"
#include "core/os/lock.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { BLOCK_BYTES = 4 * UNIT_BYTES };

static void begin(struct signal_guard *guard)
{
	signals_block(guard);
	CHECK(heap_init(8));
}

static char *allocate(size_t bytes)
{
	bool is_zero;
	char *block = large_alloc(bytes, GRANULE_BYTES, &is_zero);

	CHECK_NOT_NULL(block);
	return block;
}

static struct span *span_of(const char *block)
{
	struct slot slot;

	CHECK(heap_find_block((uintptr_t)block, &slot));
	return slot.span;
}

static void release(char *block)
{
	store_relaxed(span_states(span_of(block)), SLOT_HINTED);
	large_free_hinted(span_of(block));
}

TEST(pages_are_moved_however_many_blocks_were_moved_before)
{
	enum { MOVES = 40000 };
	struct signal_guard guard;

	begin(&guard);
	for (int i = 0; i < MOVES; i++) {
		char *block = allocate(BLOCK_BYTES), *moved;
		bool is_moved;

		*block = 7;
		moved = large_move(span_of(block), 2 * BLOCK_BYTES, true, &is_moved);
		CHECK_NOT_NULL(moved);
		if (!is_moved && i == 0)
			test_skip("no MREMAP_DONTUNMAP");
		CHECK_MSG(is_moved, "move %d was refused", i);
		CHECK_EQ(*moved, 7);
		release(moved);
	}
	CHECK_EQ(page_heap_stats()->moved_span_count, 0u);
	heap_check();
	signals_restore(&guard);
}

TEST(a_moved_block_that_was_split_is_counted_until_both_parts_are_free)
{
	struct signal_guard guard;
	char *block, *moved;
	bool is_moved;

	begin(&guard);
	block = allocate(BLOCK_BYTES);
	moved = large_move(span_of(block), 2 * BLOCK_BYTES, true, &is_moved);
	CHECK_NOT_NULL(moved);
	if (!is_moved)
		test_skip("no MREMAP_DONTUNMAP");
	CHECK_EQ(page_heap_stats()->moved_span_count, 1u);
	CHECK(large_resize(span_of(moved), UNIT_BYTES, false));
	CHECK_EQ(page_heap_stats()->moved_span_count, 2u);
	release(moved + UNIT_BYTES);
	release(moved);
	CHECK_EQ(page_heap_stats()->moved_span_count, 0u);
	signals_restore(&guard);
}

static void refuse_fixed_mappings(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_FIXED, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
		test_skip("no seccomp filter");
}

TEST(a_protected_block_that_cannot_be_mapped_afresh_is_not_used_again)
{
	struct signal_guard guard;
	char *block, *other;

#if defined(__SANITIZE_ADDRESS__)
	test_skip("AddressSanitizer needs fixed mappings of its own");
#endif
	begin(&guard);
	block = allocate(BLOCK_BYTES);
	CHECK_EQ(mprotect(block, BLOCK_BYTES, PROT_NONE), 0);
	heap_make_odd((uintptr_t)block, BLOCK_BYTES);
	refuse_fixed_mappings();
	release(block);
	for (int i = 0; i < 100; i++) {
		other = allocate(UNIT_BYTES);
		*other = 1;
		CHECK(other < block || other >= block + BLOCK_BYTES);
	}
	heap_check();
	signals_restore(&guard);
}
