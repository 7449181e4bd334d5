/*
 * capture: walk() from the caller outwards, until a state is one that was kept and holds() says that the rest is as it was; keep() puts the new frames in front of that rest.
 *
 * What was kept of frames that have returned since stays until it is written over: some of it may be true again when the program comes by there the next time.
 */
#include "core/profile/known_stack.h"

#include "core/profile/module.h"
#include "core/profile/stack_table.h"
#include "core/profile/unwind.h"
#include "core/profile/walk.h"

#include <assert.h>

enum { PASSES = 31 };

static_assert((int)KNOWN_NEW_MAX >= (int)STACK_DEPTH_MAX && (int)KNOWN_MAX > (int)KNOWN_NEW_MAX &&
		      (int)KNOWN_MAX <= UINT8_MAX,
	"a whole walk is kept");

static uintptr_t word_at(uintptr_t address)
{
	return *(const volatile uintptr_t *)address;
}

/* The first frame from `at` on that is not known to be found from `at`, KNOWN_MAX: all are. */
static ALWAYS_INLINE unsigned holds(const struct known_stack *known, unsigned at)
{
	for (unsigned next = at + 1; next < KNOWN_MAX; at = next++) {
		uintptr_t slot = known->fp_slot[at];

		if (word_at(known->sp[next] - sizeof(uintptr_t)) != known->pc[next] ||
			(slot != 0 && word_at(slot) != known->fp[next]))
			return next;
	}
	return KNOWN_MAX;
}

/* The step that cannot be made by the rule at hand: is it one that is, once the rule is? */
static NOINLINE bool step_anew(struct walk *walk, struct walk_step *ret_step)
{
	walk_find_rule(walk);
	return walk_step_known(walk, ret_step);
}

static bool step(struct walk *walk, struct walk_step *ret_step)
{
	return LIKELY(walk_step_known(walk, ret_step)) || step_anew(walk, ret_step);
}

/* Leaves the walk at the first frame that is not ours. */
static ALWAYS_INLINE bool find_caller(struct walk *walk, uintptr_t skip_below)
{
	struct walk_step step_made;

	for (unsigned i = 0; i < WALK_OWN_MAX; i++) {
		if (!step(walk, &step_made))
			return false;
		if (!walk_is_skipped(walk, 0, skip_below))
			return true;
	}
	return false;
}

struct found {
	unsigned walked; // frames in known->walked
	unsigned rest;   // index of the frame that goes on; KNOWN_MAX: nothing does
	bool is_cut;     // the walk went no further, though the stack does
};

/* False: some frame can not be kept. */
static ALWAYS_INLINE bool walk_out(
	struct known_stack *known, unsigned first, struct walk *walk, struct found *ret_found)
{
	unsigned at = first, count = 0;

	for (; count < KNOWN_NEW_MAX; count++) {
		struct known_step *made = &known->walked[count];
		struct walk_step step_made;

		while (at < KNOWN_MAX && known->sp[at] < walk->sp)
			at++;
		if (at < KNOWN_MAX && known->sp[at] == walk->sp && known->pc[at] == walk->pc &&
			(!known->needs_fp[at] || known->fp[at] == walk->fp)) {
			unsigned wrong = holds(known, at);

			if (wrong == KNOWN_MAX)
				break;
			at = wrong;
		}
		made->pc = walk->pc;
		made->sp = walk->sp;
		made->fp = walk->fp;
		if (!step(walk, &step_made)) {
			if (walk_find_rule(walk).kind != CFI_OUTERMOST)
				return false;
			made->fp_slot = 0;
			made->uses_fp = false;
			*ret_found = (struct found){.walked = count + 1, .rest = KNOWN_MAX};
			return true;
		}
		made->fp_slot = step_made.fp_slot;
		made->uses_fp = step_made.uses_fp;
	}
	*ret_found = (struct found){.walked = count,
		.rest = count < KNOWN_NEW_MAX ? at : KNOWN_MAX,
		.is_cut = count == KNOWN_NEW_MAX};
	return true;
}

/* Puts one frame in front of that at `outer`. */
static ALWAYS_INLINE void keep_one(
	struct known_stack *known, unsigned outer, const struct known_step *made)
{
	unsigned at = outer - 1, frame = outer < KNOWN_MAX ? known->frame[outer] : KNOWN_MAX;
	bool outer_needs_fp = outer < KNOWN_MAX && known->needs_fp[outer];

	known->pc[at] = made->pc;
	known->sp[at] = made->sp;
	known->fp[at] = made->fp;
	known->fp_slot[at] = outer_needs_fp ? made->fp_slot : 0;
	known->needs_fp[at] = made->uses_fp || (outer_needs_fp && made->fp_slot == 0);
	known->id[at] = 0;
	if (!module_is_own(made->pc)) {
		frame--;
		known->frames[frame] = made->pc;
		known->sum[frame] = stack_sum(known->sum[frame + 1], made->pc);
	}
	known->frame[at] = (uint8_t)frame;
}

static ALWAYS_INLINE void keep(struct known_stack *known, struct found found)
{
	unsigned at = found.rest;

	known->kept = 0;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); // a handler may jump out
	if (found.rest == KNOWN_MAX)
		known->is_whole = !found.is_cut;
	for (unsigned i = found.walked; i-- > 0;)
		keep_one(known, at--, &known->walked[i]);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	known->kept = KNOWN_MAX - at;
}

/* The sum of a stack's frames, the outer ones left out. */
static uint64_t sum_of(const struct known_stack *known, unsigned frame, unsigned depth)
{
	uint64_t factor = 1;

	if (frame + depth == KNOWN_MAX)
		return known->sum[frame];
	for (unsigned i = 0; i < depth; i++)
		factor *= STACK_SUM_FACTOR;
	return known->sum[frame] - known->sum[frame + depth] * factor;
}

static uint32_t id_at(struct known_stack *known, unsigned at)
{
	unsigned frame = known->frame[at], depth = KNOWN_MAX - frame;

	if (known->id[at] != 0)
		return known->id[at];
	if (depth > STACK_DEPTH_MAX)
		depth = STACK_DEPTH_MAX;
	known->id[at] = stack_table_add_summed(
		&known->frames[frame], depth, known->epoch, sum_of(known, frame, depth));
	return known->id[at];
}

/* What is kept, unless it is of another thread's stack, or of modules that have gone. */
static ALWAYS_INLINE unsigned first_kept(struct known_stack *known, const struct walk *walk)
{
	uint32_t generation = modules_generation(), epoch = module_epoch();

	if (LIKELY(known->generation == generation && known->epoch == epoch &&
		    known->direct_high == walk->direct_high))
		return KNOWN_MAX - known->kept;
	known->kept = 0;
	known->generation = generation;
	known->epoch = epoch;
	known->direct_high = walk->direct_high;
	return KNOWN_MAX;
}

/*
 * A handler that interrupted its use runs below the user's frame. (On another stack than the thread's nothing is kept.) Who is not above us has been left by siglongjmp.
 */
static bool is_in_use(const struct known_stack *known, const struct walk *walk)
{
	return known->user > walk->sp && known->user < walk->direct_high;
}

/* Modules came or went while we walked: by which the frames are named is not known. */
static bool is_stale(const struct known_stack *known)
{
	return known->generation != modules_generation() || known->epoch != module_epoch();
}

static bool is_enough(const struct known_stack *known, unsigned at)
{
	return known->is_whole || KNOWN_MAX - known->frame[at] >= STACK_DEPTH_MAX;
}

/* The caller's stack; 0: it is not one of those that can be kept. */
static ALWAYS_INLINE uint32_t find(struct known_stack *known, struct walk *walk)
{
	uintptr_t pc = walk->pc, sp = walk->sp, fp = walk->fp;
	unsigned first = first_kept(known, walk);
	struct found found;

	for (;;) {
		if (!walk_out(known, first, walk, &found) || is_stale(known))
			return 0;
		// else: what was kept reaches not far enough, or there is no room beside it
		if (found.rest == KNOWN_MAX || found.walked < found.rest) {
			if (found.walked > 0)
				keep(known, found);
			if (is_enough(known, found.rest - found.walked))
				return id_at(known, found.rest - found.walked);
		}
		if (first == KNOWN_MAX)
			return 0;
		first = KNOWN_MAX;
		walk->pc = pc;
		walk->sp = sp;
		walk->fp = fp;
	}
}

/* 0: not by what is known. */
static ALWAYS_INLINE uint32_t capture(
	struct known_stack *known, struct walk *walk, uintptr_t skip_below)
{
	uint32_t id = 0;

	if (known->passes > 0) {
		known->passes--;
		return 0;
	}
	known->user = walk->sp;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (find_caller(walk, skip_below))
		id = find(known, walk);
	if (id == 0)
		known->passes = PASSES;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	known->user = 0;
	return id;
}

NOINLINE uint32_t known_stack_capture(struct known_stack *known, const void *skip_below)
{
	struct walk walk;
	uintptr_t pc, sp, fp;
	uint32_t id = 0;

	if (modules_have_changed())
		modules_scan();
	walk_read_registers(&pc, &sp, &fp);
	walk_start(&walk, pc, sp, fp);
	if (walk.direct_high != 0 && !is_in_use(known, &walk))
		id = capture(known, &walk, (uintptr_t)skip_below);
	return id != 0 ? id : stack_capture(skip_below);
}
