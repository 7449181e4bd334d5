/*
 * Rules of addresses are remembered in one table for all threads: a direct-mapped array of (address ^ rule, rule), both plain 64-bit words.
 * A reader accepts a pair only if the two give its address, so a pair torn between two writers is a miss, and no lock is needed (the
 * trick of chess programs' transposition tables). The number of unloadings is mixed into the address: code that was unloaded is
 * forgotten by changing that number.
 */
#include "core/profile/unwind.h"

#include "core/base/atomic.h"
#include "core/base/attr.h"
#include "core/os/memory.h"
#include "core/os/peek.h"
#include "core/profile/cfi.h"
#include "core/profile/image.h"
#include "core/profile/module.h"
#include "core/profile/walk.h"

#include <assert.h>
#include <stddef.h>

enum {
	CALL_COUNT = 4096,         // a power of two
	FRAME_BYTES_MAX = 1 << 20, // a frame followed by its frame pointer is not larger
};

struct walk_rule walk_rules[1u << WALK_RULE_BITS];
static uint64_t calls[CALL_COUNT]; // names of addresses known to follow a call; relaxed atomics

/* The thread's own; a few words, for thread-local storage is scarce in a preloaded library. */
static __thread struct {
	uintptr_t stack_low;
	uintptr_t stack_high;
} self __attribute__((tls_model("initial-exec")));

void unwind_set_stack(uintptr_t low, uintptr_t high)
{
	self.stack_low = low;
	self.stack_high = high;
}

bool unwind_is_on_stack(uintptr_t address)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t end = self.stack_low <= here && here < self.stack_high
				? self.stack_high
				: modules_main_stack_end(here);

	return here <= address && address < end;
}

/* ---- rules ---- */

static uint64_t rule_bits(struct cfi_rule rule)
{
	return (uint64_t)rule.kind | (uint64_t)(uint16_t)rule.frame_pointer << 16 |
	       (uint64_t)(uint32_t)rule.cfa_offset << 32;
}

static struct cfi_rule bits_rule(uint64_t bits)
{
	return (struct cfi_rule){.kind = (uint8_t)bits,
		.frame_pointer = (int16_t)(bits >> 16),
		.cfa_offset = (int32_t)(bits >> 32)};
}

/* Tells addresses of different generations apart; all 64 bits differ, so that one that comes again after 2^16 unloadings is not taken for the old one. */
static uint64_t salt_now(void)
{
	return (uint64_t)modules_generation() * 0xd6e8feb86659fd93ull;
}

static uint64_t name_of(uintptr_t address)
{
	return address ^ salt_now();
}

/*
 * The module that `address` lies in, and whether its table may be read directly: if the address is on the stack, for then the module cannot go; and if it is
 * the module we know, for that may have been unloaded without our knowledge, and another be in its place.
 */
static const struct module *find_module(uintptr_t address, bool is_on_stack, bool *ret_direct)
{
	const struct module *module = module_find(address);

	*ret_direct = is_on_stack && module && module_has_table(module);
	if (!*ret_direct || module_is_there(module))
		return module;
	modules_changed();
	module = module_find(address);
	*ret_direct = module && module_has_table(module) && module_is_there(module);
	return module;
}

static struct cfi_rule find_rule(uintptr_t address, bool is_on_stack)
{
	uint64_t name = name_of(address);
	struct walk_rule *slot =
		&walk_rules[(address * 0x9e3779b97f4a7c15ull) >> (64 - WALK_RULE_BITS)];
	uint64_t bits = load_relaxed(&slot->rule);
	struct cfi_rule rule = {.kind = CFI_NONE};
	const struct module *module;
	bool is_direct;

	if ((load_relaxed(&slot->key) ^ bits) == name)
		return bits_rule(bits);
	module = find_module(address, is_on_stack, &is_direct);
	// not remembered: code made at run time, or a module that is just being loaded
	if (!module)
		return rule;
	// a frame whose table says more than we understand ends the walk: where rbp points there, nobody knows
	if (cfi_find_rule(module, address, is_direct, &rule) && rule.kind == CFI_NONE)
		rule.kind = CFI_OUTERMOST;
	bits = rule_bits(rule);
	store_relaxed(&slot->rule, bits);
	store_relaxed(
		&slot->key, bits ^ name); // of the generation before the module was looked for
	return rule;
}

/* ---- memory ---- */

static bool read_word(struct walk *walk, uintptr_t address, uintptr_t *ret_word)
{
	if (address % sizeof(uintptr_t) != 0)
		return false;
	if (address >= walk->direct_low && address + sizeof(uintptr_t) <= walk->direct_high) {
		*ret_word = *(const volatile uintptr_t *)address;
		return true;
	}
	if (walk->window_bytes == 0 || address < walk->window_start ||
		address + sizeof(uintptr_t) > walk->window_start + walk->window_bytes) {
		// the words wanted next mostly lie a little lower (saved rbp) and higher (the next frame)
		walk->window_start = address - 8 * sizeof(uintptr_t);
		walk->window_bytes =
			peek_some(walk->window, walk->window_start, sizeof(walk->window));
		if (walk->window_bytes < 9 * sizeof(uintptr_t)) {
			walk->window_start = address;
			walk->window_bytes = peek_some(walk->window, address, sizeof(walk->window));
		}
		if (walk->window_bytes < sizeof(uintptr_t))
			return false;
	}
	*ret_word = walk->window[(address - walk->window_start) / sizeof(uintptr_t)];
	return true;
}

/* ---- steps; each false: no further ---- */

/* The interrupted registers lie in the signal frame at sp: struct ucontext of the kernel. (glibc's __restore_rt has an entry marked as a signal
 * frame, which starts one byte early, so that it is found as if by a return address.) */
static bool step_signal(struct walk *walk)
{
	enum { UCONTEXT_RBP = 120, UCONTEXT_RSP = 160, UCONTEXT_RIP = 168 };
	uintptr_t frame = walk->sp;

	walk->is_exact = true;
	return read_word(walk, frame + UCONTEXT_RIP, &walk->pc) &&
	       read_word(walk, frame + UCONTEXT_RBP, &walk->fp) &&
	       read_word(walk, frame + UCONTEXT_RSP, &walk->sp);
}

/* True if a call instruction ends at `pc`: call rel32, or one of the forms of call r/m64 (2 to 7 bytes, perhaps with a prefix before). */
static bool follows_call(uintptr_t pc)
{
	enum { BEFORE = 7, CALL_RELATIVE = 0xe8, GROUP_5 = 0xff, CALL_INDIRECT = 2 };
	uint8_t bytes[BEFORE];

	if (pc < OS_PAGE_BYTES || !peek(bytes, pc - BEFORE, BEFORE))
		return false;
	if (bytes[BEFORE - 5] == CALL_RELATIVE)
		return true;
	for (unsigned i = 0; i + 1 < BEFORE; i++) {
		if (bytes[i] == GROUP_5 && ((bytes[i + 1] >> 3) & 7) == CALL_INDIRECT)
			return true;
	}
	return false;
}

/* The same, remembered: code compiled with frame pointers and without tables is common, too. */
static bool is_return_address(uintptr_t pc)
{
	uint64_t name = name_of(pc), *known = &calls[(pc * 0x9e3779b97f4a7c15ull) >> 52];

	static_assert((1ull << 12) == CALL_COUNT, "index is the top 12 bits of a product");
	if (load_relaxed(known) == name)
		return true;
	if (!follows_call(pc))
		return false;
	store_relaxed(known, name);
	return true;
}

static bool step_by_rule(struct walk *walk, struct cfi_rule rule)
{
	uintptr_t cfa = (rule.kind == CFI_STACK ? walk->sp : walk->fp) +
			(uintptr_t)(intptr_t)rule.cfa_offset;
	uintptr_t fp = walk->fp;

	if (rule.kind == CFI_FRAME_INDIRECT && !read_word(walk, cfa, &cfa))
		return false;
	// frames lie one above the other; a switch of stacks is nothing we follow
	if (cfa <= walk->sp || !read_word(walk, cfa - sizeof(uintptr_t), &walk->pc) ||
		(walk->is_guessed && !is_return_address(walk->pc)))
		return false;
	if (rule.frame_pointer == CFI_AT_FRAME) {
		if (!read_word(walk, walk->fp, &fp))
			return false;
	} else if (rule.frame_pointer != CFI_SAME &&
		   !read_word(walk, cfa + (uintptr_t)(intptr_t)rule.frame_pointer, &fp)) {
		return false;
	}
	walk->sp = cfa;
	walk->fp = fp;
	walk->is_exact = false;
	return true;
}

/*
 * Code without a table: rbp must point outwards to a saved rbp with a return address above it. That address is believed if a call stands before
 * it, and either it lies in a module (whose table then goes on) or there is again a frame further out.
 */
static bool step_by_frame_pointer(struct walk *walk)
{
	uintptr_t fp, pc;

	if (walk->fp < walk->sp || walk->fp - walk->sp > FRAME_BYTES_MAX ||
		!read_word(walk, walk->fp, &fp) ||
		!read_word(walk, walk->fp + sizeof(uintptr_t), &pc) || !is_return_address(pc))
		return false;
	if (!module_find_known(pc) && (fp <= walk->fp || fp - walk->fp > FRAME_BYTES_MAX))
		return false;
	walk->sp = walk->fp + 2 * sizeof(uintptr_t);
	walk->fp = fp;
	walk->pc = pc;
	walk->is_exact = false;
	walk->is_guessed = true;
	return true;
}

struct cfi_rule walk_find_rule(const struct walk *walk)
{
	return find_rule(walk->pc - !walk->is_exact, !walk->is_guessed);
}

bool walk_step_slow(struct walk *walk)
{
	struct cfi_rule rule = walk_find_rule(walk);

	switch (rule.kind) {
	case CFI_OUTERMOST:
		return false;
	case CFI_SIGNAL:
		return step_signal(walk);
	case CFI_STACK:
	case CFI_FRAME:
	case CFI_FRAME_INDIRECT:
		if (!step_by_rule(walk, rule))
			return false;
		break;
	default:
		if (!step_by_frame_pointer(walk))
			return false;
	}
	return walk->pc != 0;
}

static unsigned walk_stack(
	struct walk *walk, uintptr_t *frames, unsigned capacity, uintptr_t skip_below)
{
	unsigned count = 0, skipped = 0;

	while (count < capacity && walk_step(walk)) {
		if (!walk_is_skipped(walk, count, skipped < WALK_OWN_MAX ? skip_below : 0))
			frames[count++] = walk->pc;
		else if (++skipped > 4 * WALK_OWN_MAX)
			break;
	}
	return count;
}

void walk_start(struct walk *walk, uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	walk->pc = pc;
	walk->sp = sp;
	walk->fp = fp;
	walk->is_exact = true;
	walk->is_guessed = false;
	walk->salt = salt_now();
	walk->window_bytes = 0;
	walk->direct_low = walk->direct_high = 0;
	if (sp >= self.stack_low && sp < self.stack_high) {
		walk->direct_low = sp;
		walk->direct_high = self.stack_high;
	} else if (modules_main_stack_end(sp) != 0) {
		walk->direct_low = sp;
		walk->direct_high = modules_main_stack_end(sp);
	}
}

static NOINLINE unsigned capture(uintptr_t *frames, unsigned capacity, const void *skip_below)
{
	struct walk walk;
	uintptr_t pc, sp, fp;

	walk_read_registers(&pc, &sp, &fp);
	walk_start(&walk, pc, sp, fp);
	return walk_stack(&walk, frames, capacity, (uintptr_t)skip_below);
}

unsigned unwind_capture(uintptr_t *frames, unsigned capacity, const void *skip_below)
{
	if (modules_have_changed())
		modules_scan();
	return capture(frames, capacity, skip_below);
}

unsigned unwind_other(
	struct unwind_place place, uintptr_t *frames, uintptr_t *ends, unsigned capacity)
{
	struct walk walk;
	unsigned count = 0;

	if (modules_have_changed())
		modules_scan();
	walk_start(&walk, place.instruction, place.stack_pointer, place.frame_pointer);
	walk.direct_low = walk.direct_high = 0; // of the caller's own stack
	while (count < capacity) {
		frames[count] = walk.pc;
		if (!walk_step_slow(&walk))
			break;
		ends[count++] = walk.sp;
	}
	return count;
}
