/*
 * The rules by which a leaked block is taken back, in the order in which they are asked. One "no" keeps the block.
 *
 *	amount		only what exceeds probation_bytes of leaked memory; memory is the reason to reclaim, so memory decides
 *	age		unreached in probation_cycles cycles in a row and for probation_ms, both doubled by each piece of evidence
 *	growth		its group has 64 blocks or 1 MiB and grew in each of three observations (leak_groups.h); singletons never
 *	holders		no leaked block that stays refers to it, and none that goes only now: indirect blocks go one cycle after their holder
 *	order		largest group first, newest block first, until the excess is gone
 *	contents	unchanged since the first verdict: nobody writes it
 *	kernel		no word the kernel keeps names it, and no pointer may be on its way through the kernel (kernel_ask.h)
 *	second look	no disguised form of its address in all of memory (second_look.h)
 *
 * What any of the last three speaks for stays with all it reaches, and its probation starts again.
 *
 * A block on probation that the program frees, reallocates or asks the size of proves that pointers are hidden. It lives on; its site, or without
 * a stack its size class, is no longer taken back; after three pieces of evidence nothing is.
 *
 * With probation=off every unreached block is taken back at once (tests).
 */
#include "core/gc/probation.h"

#include "core/base/option.h"
#include "core/gc/cycle.h"
#include "core/gc/kernel_ask.h"
#include "core/gc/leak_check.h"
#include "core/gc/leak_choice.h"
#include "core/gc/leak_groups.h"
#include "core/gc/leak_set.h"
#include "core/gc/second_look.h"
#include "core/heap/page_heap.h"
#include "core/os/clock.h"
#include "core/os/log.h"
#include "core/profile/report.h"

enum {
	EVIDENCE_SITES = 64, // more between two cycles are only counted: three stop everything
	EVIDENCE_MAX = 3,
	OBSERVATIONS_PER_PROBATION = 4,
	LOG_LINES_MAX = 32,
	SITE_TEXT_BYTES = 256,
	IDLE_MIN = 2, // observations without any growth before cycles become rarer
	IDLE_DOUBLINGS_MAX = 6,
	LOOK_COST_FACTOR =
		9, // a second look of t is followed by 9 t without one: a tenth of the time at most
};

#define EVIDENCE_IS_THERE (1ull << 63)
#define PROBATION_BYTES_LEAST ((uint64_t)16 << 20)
#define PROBATION_LIVE_PART 20 /* 5 % */

static struct {
	/* lock CYCLE */
	struct leak_set now;    // being filled, then judged
	struct leak_set before; // what the last verdict left
	uint64_t base_ns;       // zero of our clock
	uint64_t now_ms;        // when this verdict was begun
	uint64_t begin_cpu_ns;  // the thread's processor time then
	uint64_t factor;        // 2^evidence
	uint32_t log_lines;
	uint32_t idle; // observations in a row without any growth
	uint64_t next_look_ns;
	struct probation_totals totals; // written here, read anywhere word by word

	/* any thread */
	uint64_t evidence
		[EVIDENCE_SITES]; // EVIDENCE_IS_THERE | stack << 8 | class, each at most once; 0: free. By compare-and-swap
	uint64_t evidence_count; // pieces so far, each counted after it was entered; atomic
	uint64_t wants_ns;       // atomic
} probation = {.factor = 1, .wants_ns = UINT64_MAX};

/* ---- evidence ---- */

/* An entry appears as a whole: wherever the thread is interrupted or left by a long jump, no cycle finds half a piece and passes the rest over. */
void probation_evidence(struct slot slot)
{
	uint64_t piece =
		EVIDENCE_IS_THERE | (uint64_t)slot_stack_id(slot) << 8 | leak_class_of(slot);

	for (int i = 0; i < EVIDENCE_SITES; i++) {
		uint64_t entered = load_relaxed(&probation.evidence[i]);

		if (entered == piece || (entered == 0 && cas_seq(&probation.evidence[i], 0, piece)))
			break;
	}
	add_seq(&probation.evidence_count, 1);
}

static bool every_stack_is_kept(void)
{
	return options.stacks == STACKS_ALL;
}

static void log_evidence(uint32_t stack)
{
	char site[SITE_TEXT_BYTES];

	if (probation.log_lines++ >= LOG_LINES_MAX)
		return;
	report_name_site(stack, site, sizeof(site));
	log_line(
		"the program used a block that nothing refers to, allocated %s: it hides pointers; such blocks are not taken back",
		site);
}

/* How many pieces there were decides how careful to be with all; which sites they name, what is stopped. */
static void count_evidence(uint64_t count)
{
	uint64_t before = probation.totals.evidence;

	for (uint64_t i = before; i < min_u64(count, EVIDENCE_MAX); i++)
		probation.factor *= 2;
	store_relaxed(&probation.totals.evidence, count);
	if (before < EVIDENCE_MAX && count >= EVIDENCE_MAX) {
		store_relaxed(&probation.totals.stopped, true);
		log_line(
			"the program used %d blocks that nothing refers to: leaks are no longer taken back in this process",
			EVIDENCE_MAX);
	}
}

static void take_evidence(void)
{
	uint64_t count = load_seq(&probation.evidence_count);

	for (int i = 0; i < EVIDENCE_SITES; i++) {
		uint64_t piece = exchange_seq(&probation.evidence[i], 0);
		uint32_t stack = (uint32_t)(piece >> 8);

		if (piece == 0)
			continue;
		leak_groups_stop(stack, piece & 0xff, every_stack_is_kept());
		log_evidence(stack);
	}
	count_evidence(count);
}

/* ---- from the verdict ---- */

static bool reclaims(void)
{
	return options.leaks == LEAKS_RECLAIM && !probation.totals.stopped;
}

void probation_begin(uint64_t cycle)
{
	(void)cycle;
	if (probation.base_ns == 0)
		probation.base_ns = clock_now_ns();
	probation.now_ms = (clock_now_ns() - probation.base_ns) / NS_PER_MS;
	probation.begin_cpu_ns = clock_thread_cpu_ns();
	take_evidence();
	leak_set_clear(&probation.now);
	leak_groups_begin();
}

/* ALLOCATED or SAMPLED becomes PROBATION. An id that an earlier owner of the slot left must not be taken for this one's. */
static bool put_on_probation(struct slot slot, uint8_t state)
{
	uint32_t *ids = load_acquire(&slot.span->stack_ids);

	if (state == SLOT_ALLOCATED && ids)
		store_relaxed(&ids[slot.index], 0);
	return cas_seq(slot_state(slot), state, (uint8_t)SLOT_PROBATION);
}

void probation_block(struct slot slot)
{
	uint8_t state = load_relaxed(slot_state(slot));
	struct leaked *leaked;

	if (state_is_live(state) && options.leaks == LEAKS_RECLAIM &&
		!put_on_probation(slot, state))
		return;
	// whoever frees it from here on leaves a marked slot, which waits for the next cycle
	slot_test_and_set_mark(slot);
	leaked = leak_set_add(&probation.now, slot_address(slot), slot_bytes(slot));
	if (!leaked)
		return;
	leaked->stack = state == SLOT_ALLOCATED ? 0 : slot_stack_id(slot);
	leaked->flags =
		state == SLOT_PROBATION || options.leaks != LEAKS_RECLAIM ? LEAKED_CONTINUES : 0;
	leaked->group = leak_groups_add(leaked, slot, every_stack_is_kept());
}

static void revive_slot(struct slot slot)
{
	uint8_t state = slot_stack_id(slot) ? SLOT_SAMPLED : SLOT_ALLOCATED;

	if (cas_seq(slot_state(slot), (uint8_t)SLOT_PROBATION, state))
		store_relaxed(
			&probation.totals.revived_blocks, probation.totals.revived_blocks + 1);
}

void probation_revive(struct slot slot)
{
	revive_slot(slot);
}

/* ---- age ---- */

static void start_probation(struct leaked *leaked)
{
	leaked->first_ms = (uint32_t)probation.now_ms;
	leaked->cycles = 1;
	leaked->flags &= ~(uint32_t)(LEAKED_HOLDER_GONE | LEAKED_LEAF);
	leaked->hash = reclaims() && options.probation == SWITCH_ON ? leaked_hash(leaked) : 0;
}

/* Both sets are sorted: what was there before and stayed leaked grows older. */
static void carry_ages_over(void)
{
	struct leak_set *now = &probation.now, *before = &probation.before;
	size_t k = 0;

	leak_set_sort(now);
	leak_set_begin_reading();
	for (size_t i = 0; i < now->count; i++) {
		struct leaked *leaked = &now->list[i];
		const struct leaked *old;

		while (k < before->count && before->list[k].address < leaked->address)
			k++;
		old = k < before->count && before->list[k].address == leaked->address
			      ? &before->list[k]
			      : 0;
		if (!old || !(leaked->flags & LEAKED_CONTINUES)) {
			start_probation(leaked);
			continue;
		}
		leaked->first_ms = old->first_ms;
		leaked->cycles = old->cycles + 1;
		leaked->hash = old->hash;
		leaked->flags |= old->flags & (LEAKED_HOLDER_GONE | LEAKED_LEAF);
	}
}

static bool is_old_enough(const struct leaked *leaked)
{
	return leaked->cycles >= options.probation_cycles * probation.factor &&
	       probation.now_ms - leaked->first_ms >= options.probation_ms * probation.factor;
}

/* ---- amounts ---- */

static uint64_t heap_bytes(void)
{
	return page_heap_used_bytes();
}

/* Leaked bytes that are never taken back. */
static uint64_t tolerated_bytes(void)
{
	if (options.probation_bytes != OPTION_AUTO)
		return options.probation_bytes;
	return max_u64(PROBATION_BYTES_LEAST, cycle_last.live_bytes / PROBATION_LIVE_PART);
}

/* ---- what speaks for a block ---- */

static void keep(struct leaked *leaked)
{
	leaked->flags |= LEAKED_KEPT;
}

static size_t keep_changed(struct leak_set *set)
{
	size_t kept = 0;

	leak_set_begin_reading();
	for (size_t i = 0; i < set->count; i++) {
		struct leaked *leaked = &set->list[i];

		if (!(leaked->flags & LEAKED_CHOSEN) ||
			(leaked->hash != 0 && leaked_hash(leaked) == leaked->hash))
			continue;
		keep(leaked);
		kept++;
	}
	return kept;
}

static void visit_kernel_word(uintptr_t word, void *argument)
{
	struct leaked *leaked = leak_set_find(argument, word);

	if (leaked)
		keep(leaked);
}

static bool is_kept(const struct leaked *leaked)
{
	return leaked->flags & LEAKED_KEPT;
}

/* What something speaks for, and all it reaches, begins its probation anew. */
static bool release_kept(struct leak_set *set)
{
	uint64_t hits = 0;

	if (!leak_set_reach(set, is_kept, LEAKED_VISITED))
		return false;
	leak_set_begin_reading();
	for (size_t i = 0; i < set->count; i++) {
		struct leaked *leaked = &set->list[i];

		if (!(leaked->flags & (LEAKED_KEPT | LEAKED_VISITED)))
			continue;
		hits += (leaked->flags & LEAKED_KEPT) != 0;
		leaked->flags &= ~(uint32_t)(LEAKED_CHOSEN | LEAKED_KEPT | LEAKED_VISITED);
		start_probation(leaked);
	}
	store_relaxed(&probation.totals.second_look_hits, probation.totals.second_look_hits + hits);
	return true;
}

static bool postpone(void)
{
	store_relaxed(&probation.totals.postponed, probation.totals.postponed + 1);
	return false;
}

/* Contents, kernel, second look. False: not now, nothing of the batch goes. */
static bool ask_all(struct leak_set *set)
{
	keep_changed(set);
	if (kernel_ask(visit_kernel_word, set) != KERNEL_TOLD)
		return postpone();
	return second_look(set) >= 0 ? release_kept(set) : postpone();
}

/* ---- taking back ---- */

/* One line for each site; without stacks for each size class, with a stack of the same class if there is one. */
static void log_first_reclaim(const struct leaked *leaked)
{
	struct leak_group *group = leak_group_get(leaked->group);
	char site[SITE_TEXT_BYTES];

	if (group->parent != GROUP_NONE)
		group = leak_group_get(group->parent);
	if (group->is_logged || probation.log_lines >= LOG_LINES_MAX ||
		options.probation == SWITCH_OFF)
		return;
	group->is_logged = true;
	probation.log_lines++;
	report_name_site(group->sample, site, sizeof(site));
	log_line(
		"taking leaked memory back: %lu block(s), %lu byte(s) in slots of %lu, allocated %s",
		group->blocks, group->bytes, leaked_bytes(leaked), site);
}

static void count_reclaimed(const struct leaked *leaked)
{
	store_relaxed(&probation.totals.reclaimed_blocks, probation.totals.reclaimed_blocks + 1);
	store_relaxed(&probation.totals.reclaimed_bytes,
		probation.totals.reclaimed_bytes + leaked_bytes(leaked));
	if (leaked->group != GROUP_NONE) {
		struct leak_group *group = leak_group_get(leaked->group);

		log_first_reclaim(leaked);
		for (;;) {
			group->gone_blocks++;
			group->gone_bytes += leaked_bytes(leaked);
			group->blocks--;
			group->bytes -= leaked_bytes(leaked);
			if (group->parent == GROUP_NONE)
				break;
			group = leak_group_get(group->parent);
		}
	}
	leak_check_note_reclaimed(leaked);
}

/* Looking takes time in proportion to the memory in use: a tenth of the time at most, unless a good part of that memory may be won. */
static bool is_worth_a_look(uint64_t excess)
{
	return clock_now_ns() >= probation.next_look_ns || excess >= heap_bytes() / 4;
}

static void reclaim_by_rules(struct leak_set *set)
{
	uint64_t tolerated = tolerated_bytes(), start = clock_thread_cpu_ns();
	uint64_t excess = set->bytes > tolerated ? set->bytes - tolerated : 0;

	if (excess == 0 || set->is_incomplete || !is_worth_a_look(excess) ||
		!leak_choice_condemn(set, is_old_enough) || leak_choice_choose(set, excess) == 0)
		return;
	if (ask_all(set)) {
		leak_choice_take(set, count_reclaimed);
		leak_choice_free_from_holders(set);
		leak_choice_drop(set);
	}
	probation.next_look_ns =
		clock_now_ns() + LOOK_COST_FACTOR * (clock_thread_cpu_ns() - start);
}

static bool always(const struct leaked *leaked)
{
	(void)leaked;
	return true;
}

static void reclaim_all(struct leak_set *set)
{
	// only the report wants to know which were direct; one that is asked for later calls them all so
	bool report = options.report[0] != 'o';

	if (report && !leak_set_find_roots(set, always))
		return;
	for (size_t i = 0; i < set->count; i++)
		set->list[i].flags |= report ? LEAKED_CHOSEN : LEAKED_CHOSEN | LEAKED_ROOT;
	leak_choice_take(set, count_reclaimed);
	leak_choice_drop(set);
}

/* ---- the end of a cycle ---- */

static uint64_t observation_ms(void)
{
	return options.probation_ms * probation.factor / OBSERVATIONS_PER_PROBATION;
}

/* Something may mature: more than is tolerated is leaked. While nothing grows, the wish comes less and less often. */
static void plan_next_cycle(bool observed)
{
	uint64_t wait_ms = max_u64(observation_ms(), 1), wanted;

	if (!reclaims() || options.probation == SWITCH_OFF ||
		probation.before.bytes <= tolerated_bytes()) {
		probation.idle = 0;
		store_relaxed(&probation.wants_ns, UINT64_MAX);
		return;
	}
	if (observed)
		probation.idle = leak_groups_any_growth() ? 0 : probation.idle + 1;
	// where most of the heap is leaked, marking is cheap and waiting is not
	if (probation.before.bytes > heap_bytes() / 2)
		wait_ms = max_u64(wait_ms / 2, 1);
	if (probation.idle > IDLE_MIN)
		wait_ms <<= min_u64(probation.idle - IDLE_MIN, IDLE_DOUBLINGS_MAX);
	// counted from the beginning of this cycle, and at least as long as it took of the processor
	wanted = probation.base_ns + (probation.now_ms + wait_ms + 1) * NS_PER_MS;
	store_relaxed(&probation.wants_ns,
		max_u64(wanted, clock_now_ns() + clock_thread_cpu_ns() - probation.begin_cpu_ns));
}

/* What was judged becomes what was before; scratch flags end here. */
static void keep_for_next(void)
{
	struct leak_set old = probation.before;

	for (size_t i = 0; i < probation.now.count; i++)
		probation.now.list[i].flags &= LEAKED_HOLDER_GONE | LEAKED_CONTINUES | LEAKED_LEAF;
	leak_set_forget_edges(&probation.now);
	probation.before = probation.now;
	probation.now = old;
	leak_set_release(&probation.now);
	store_relaxed(&probation.totals.leaked_blocks, probation.before.count);
	store_relaxed(&probation.totals.leaked_bytes, probation.before.bytes);
}

void probation_finish(void)
{
	bool observed;

	carry_ages_over();
	take_evidence();
	observed = leak_groups_observe(probation.now_ms, observation_ms());
	if (reclaims() && options.probation == SWITCH_OFF)
		reclaim_all(&probation.now);
	else if (reclaims())
		reclaim_by_rules(&probation.now);
	keep_for_next();
	plan_next_cycle(observed);
}

uint64_t probation_wants_cycle_ns(void)
{
	return load_relaxed(&probation.wants_ns);
}

void probation_read_totals(struct probation_totals *ret_totals)
{
	const struct probation_totals *totals = &probation.totals;

	*ret_totals = (struct probation_totals){
		.leaked_blocks = load_relaxed(&totals->leaked_blocks),
		.leaked_bytes = load_relaxed(&totals->leaked_bytes),
		.reclaimed_blocks = load_relaxed(&totals->reclaimed_blocks),
		.reclaimed_bytes = load_relaxed(&totals->reclaimed_bytes),
		.revived_blocks = load_relaxed(&totals->revived_blocks),
		.evidence = load_relaxed(&totals->evidence),
		.second_look_hits = load_relaxed(&totals->second_look_hits),
		.postponed = load_relaxed(&totals->postponed),
		.stopped = load_relaxed(&totals->stopped),
	};
}

struct leak_set *probation_leaks(void)
{
	return &probation.before;
}

uint32_t probation_clock_ms(void)
{
	return probation.base_ns == 0
		       ? 0
		       : (uint32_t)((clock_now_ns() - probation.base_ns) / NS_PER_MS);
}

void probation_after_fork(void)
{
	leak_set_clear(&probation.now);
	leak_set_clear(&probation.before);
	leak_groups_after_fork();
	leak_check_after_fork();
	probation.totals.leaked_blocks = probation.totals.leaked_bytes = 0;
	probation.totals.reclaimed_blocks = probation.totals.reclaimed_bytes = 0;
	store_relaxed(&probation.wants_ns, UINT64_MAX);
}
