/*
 * gasket diff: what one file of findings has that another has not.
 *
 * Findings are the same if they have the same id, so the files may be of different processes and builds. What leaks hold counts with them.
 */
#include "cli/memory.h"
#include "cli/render.h"
#include "cli/suppressions.h"

#include <inttypes.h>

/* All findings of one id in a set. */
struct sum {
	const struct report *report;
	const struct report_finding *first;
	uint64_t bytes, blocks;
};

struct sums {
	struct sum *list;
	size_t count;
};

static int compare_ids(const void *left, const void *right)
{
	const struct sum *a = left, *b = right;

	return strcmp(a->first->id, b->first->id);
}

static bool is_compared(const struct report_finding *finding, bool with_possible)
{
	return !finding->is_suppressed && finding->parent == SIZE_MAX &&
	       (with_possible || finding->sum.kind != FINDING_POSSIBLE);
}

static struct sums collect(const struct report_set *set, bool with_possible)
{
	struct sums sums = {0};
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct report *report = &set->reports[i];

		for (size_t j = 0; j < report->finding_count; j++) {
			const struct report_finding *finding = &report->findings[j];

			if (!is_compared(finding, with_possible))
				continue;
			sums.list = memory_grow(sums.list, sums.count, sizeof(*sums.list));
			sums.list[sums.count++] = (struct sum){report, finding,
				report_total_bytes(finding), report_total_blocks(finding)};
		}
	}
	if (sums.list)
		qsort(sums.list, sums.count, sizeof(*sums.list), compare_ids);
	for (size_t i = 0; i < sums.count; i++) {
		if (kept > 0 && !compare_ids(&sums.list[kept - 1], &sums.list[i])) {
			sums.list[kept - 1].bytes += sums.list[i].bytes;
			sums.list[kept - 1].blocks += sums.list[i].blocks;
		} else {
			sums.list[kept++] = sums.list[i];
		}
	}
	sums.count = kept;
	return sums;
}

static const struct sum *find(const struct sums *sums, const struct sum *like)
{
	return sums->list ? bsearch(like, sums->list, sums->count, sizeof(*sums->list), compare_ids)
			  : NULL;
}

/* Largest first. */
static int compare_bytes(const void *left, const void *right)
{
	const struct sum *a = left, *b = right;

	if (a->first->sum.kind != b->first->sum.kind)
		return a->first->sum.kind < b->first->sum.kind ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
	return compare_ids(a, b);
}

/* What was found. */
struct outcome {
	size_t added, grown, gone;
	bool has_new_leak;
};

static void print_change(const char *word, const struct sum *before, const struct sum *after)
{
	const struct sum *either = after ? after : before;

	printf("%s: %s %s: ", word, findings_kind_word(either->first->sum.kind), either->first->id);
	if (before && after)
		printf("%" PRIu64 " -> %" PRIu64 " byte(s), %" PRIu64 " -> %" PRIu64 " object(s)\n",
			before->bytes, after->bytes, before->blocks, after->blocks);
	else
		printf("%" PRIu64 " byte(s) in %" PRIu64 " object(s)\n", either->bytes,
			either->blocks);
	if (after)
		render_finding(stdout, after->report, after->first);
}

static void compare(const struct sums *before, struct sums *after, struct outcome *outcome)
{
	struct sums in_order = {memory_get(after->count, sizeof(struct sum)), after->count};

	if (after->count) {
		memcpy(in_order.list, after->list, after->count * sizeof(struct sum));
		qsort(in_order.list, in_order.count, sizeof(struct sum), compare_bytes);
	}
	for (size_t i = 0; i < in_order.count; i++) {
		const struct sum *now = &in_order.list[i], *then = find(before, now);

		if (!then) {
			outcome->added++;
			outcome->has_new_leak |= now->first->sum.kind == FINDING_LEAK;
			print_change("New", NULL, now);
		} else if (now->bytes > then->bytes) {
			outcome->grown++;
			print_change("Grown", then, now);
		}
	}
	for (size_t i = 0; i < before->count; i++) {
		if (find(after, &before->list[i]))
			continue;
		outcome->gone++;
		print_change("Gone", &before->list[i], NULL);
	}
	free(in_order.list);
}

static void load(struct report_set *set, const char *path, const char *root,
	struct suppressions *suppressions)
{
	report_set_init(set, root);
	if (!report_set_add_path(set, path))
		exit(EXIT_FAILED);
	suppressions_apply(suppressions, set);
	report_set_sort(set);
}

static bool was_checked(const struct report_set *set)
{
	return set->reports[0].meta.verdict == FINDINGS_VERDICT_FULL;
}

static bool has_possible(const struct report_set *set)
{
	return set->reports[0].meta.possible == FINDINGS_POSSIBLE_LOOKED;
}

static int run(const char *const paths[2], const char *root, struct suppressions *suppressions)
{
	struct report_set before, after;
	struct sums old, new;
	struct outcome outcome = {0};
	bool with_possible;
	int status;

	load(&before, paths[0], root, suppressions);
	load(&after, paths[1], root, suppressions);
	with_possible = has_possible(&before) && has_possible(&after);
	old = collect(&before, with_possible);
	new = collect(&after, with_possible);
	compare(&old, &new, &outcome);
	if (has_possible(&before) != has_possible(&after))
		puts("NOTE: possible leaks were looked for in one of the files only, and are not compared.");
	for (size_t i = 0; i < after.count; i++)
		render_verdict(stdout, &after.reports[i]);
	printf("SUMMARY: Gasket: %zu new, %zu grown, %zu gone.\n", outcome.added, outcome.grown,
		outcome.gone);
	status = outcome.has_new_leak ? EXIT_LEAKS : was_checked(&after) ? 0 : EXIT_NOT_CHECKED;
	free(old.list);
	free(new.list);
	report_set_finish(&before);
	report_set_finish(&after);
	return status;
}

int diff_command(int argc, char **argv)
{
	struct suppressions *suppressions = suppressions_create();
	const char *argument, *root = NULL;
	int letter, first = 1, status;

	while ((letter = command_next_switch(argc, argv, &argument, &first))) {
		if (letter == 'r')
			root = argument;
		else if (!suppressions_load(suppressions, argument))
			exit(EXIT_FAILED);
	}
	if (argc - first != 2)
		fail(EXIT_USAGE, "diff: takes two files of findings; see gasket help diff");
	status = run((const char *const[]){argv[first], argv[first + 1]}, root, suppressions);
	suppressions_destroy(suppressions);
	return status;
}
