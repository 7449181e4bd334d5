/*
 * Reading. A page is read only if the page tables say that there is something: one that was never touched stays so, and 16 TiB of reserved addresses
 * cost nothing. What a mapping is decides which of its pages count:
 *
 *	private memory	   pages that are its own; clean pages of a file hold what the file holds, and zero pages nothing
 *	shared memory	   every page in our page tables or in the page cache; all pages, if some are swapped out
 *	a shared file	   the same, if it may be written; a pointer in a file is no root otherwise, nor one that only the disk has
 *	rings (io_uring)   whole; and the kernel may hold further pointers in requests under way
 *	devices, vdso	   nothing
 *	executable memory  at every byte, unless it is a file's
 *
 * Small ranges are gathered and copied by one system call; a call that fails as a whole is repeated page by page. A page that is still there and cannot be
 * read is a failure; one that went away meanwhile is not.
 */
#include "core/gc/root_reader.h"

#include "core/base/arith.h"
#include "core/gc/mark.h"
#include "core/gc/words.h"
#include "core/gc/world.h"
#include "core/os/memory.h"
#include "core/os/proc.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

/*
 * Where in a page a piece is copied to. Pages are copied half as fast to 8 bytes behind the beginning of one, where CARRY_BYTES would lie: to the CPU, which compares
 * the low bits of addresses first, each load seems to be of what was stored just before.
 */
#define PIECE_OFFSET 64

enum {
	PIECE_BYTES = 256 * 1024,        // read at once
	BATCH_PIECES = 256,              // small ones that are read by one call
	CARRY_BYTES = sizeof(uintptr_t), // of the piece before, for words across the edge
};

/* The collector thread's. */
static struct {
	char *buffer; // CARRY_BYTES + PIECE_BYTES; a piece starts at CARRY_BYTES
	struct {
		struct iovec pieces[BATCH_PIECES];
		uint8_t flags[BATCH_PIECES]; // enum root_read_flags
		uint8_t owner[BATCH_PIECES];
		size_t count;
		size_t bytes;
	} batch; // ranges to be read as words
} reader;

bool root_reader_prepare(void)
{
	char *memory = reader.buffer ? 0 : os_map(PIECE_OFFSET + PIECE_BYTES);

	if (memory)
		reader.buffer = memory + PIECE_OFFSET - CARRY_BYTES;
	return reader.buffer != 0;
}

void root_reader_begin(void)
{
	reader.batch.count = 0;
	reader.batch.bytes = 0;
}

void root_scan_words_of(struct root_scan *scan, int32_t thread, uintptr_t address,
	const uintptr_t *words, size_t count)
{
	if (!scan->sink) {
		mark_words(scan->marker, words, count);
		return;
	}
	scan->thread = thread;
	scan->address = address;
	scan->stride = sizeof(uintptr_t);
	scan->sink(scan->sink_argument, words, count);
}

void root_scan_words(struct root_scan *scan, const uintptr_t *words, size_t count)
{
	root_scan_words_of(scan, 0, 0, words, count);
}

static void scan_words_at_bytes(
	struct root_scan *scan, uintptr_t address, const uintptr_t *words, size_t count)
{
	if (!scan->sink) {
		mark_words(scan->marker, words, count);
		return;
	}
	scan->thread = 0;
	scan->address = address;
	scan->stride = 1;
	scan->sink(scan->sink_argument, words, count);
}

/* The words at every byte of what lies at `start` but the aligned ones; the piece before left its last bytes in front. */
static void scan_unaligned(struct root_scan *scan, uintptr_t start, size_t bytes)
{
	const char *first = reader.buffer + 1;
	const char *end = reader.buffer + bytes + 1; // of the last word's first byte
	uintptr_t words[WORDS_BLOCK];
	size_t count = 0;

	for (const char *at = first; at < end; at++) {
		memcpy(&words[count++], at, sizeof(uintptr_t));
		if (count == WORDS_BLOCK || at + 1 == end) {
			size_t last = (size_t)(at - reader.buffer);

			scan_words_at_bytes(
				scan, start - CARRY_BYTES + last + 1 - count, words, count);
			count = 0;
		}
	}
	memcpy(reader.buffer, reader.buffer + bytes, CARRY_BYTES);
}

/* What lay at `start` is in the buffer. */
static void scan_piece(struct root_scan *scan, uintptr_t start, size_t bytes, unsigned flags)
{
	scan->bytes_read += bytes;
	if (flags & ROOT_READ_BYTES)
		scan_unaligned(scan, start, bytes);
	else
		root_scan_words_of(scan, 0, start, (const uintptr_t *)(reader.buffer + CARRY_BYTES),
			bytes / sizeof(uintptr_t));
}

/* The pieces of the batch are in the buffer, one behind the other: a marker does not want to know where they lay. */
static void scan_batch(struct root_scan *scan, size_t count, size_t bytes)
{
	const uintptr_t *words = (const uintptr_t *)(reader.buffer + CARRY_BYTES);

	scan->bytes_read += bytes;
	if (!scan->sink) {
		mark_words(scan->marker, words, bytes / sizeof(*words));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct iovec *piece = &reader.batch.pieces[i];

		root_scan_words_of(scan, 0, (uintptr_t)piece->iov_base, words,
			piece->iov_len / sizeof(*words));
		words += piece->iov_len / sizeof(*words);
	}
}

/* The one function that reads the program's memory by plain loads: out of the sanitizers' sight. */
__attribute__((no_sanitize_address, no_sanitize_thread)) static void copy_words(
	uintptr_t *to, const volatile uintptr_t *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(uintptr_t); i++)
		to[i] = from[i];
}

/* [start, start + bytes) lies in one page. The page was refused as part of a larger piece. */
static bool scan_page(struct root_scan *scan, uintptr_t start, size_t bytes, unsigned flags)
{
	char *piece = reader.buffer + CARRY_BYTES;

	if (memory_read(piece, start, bytes)) {
		scan_piece(scan, start, bytes, flags);
		return true;
	}
	if (flags & ROOT_READ_DIRECT) {
		if (!memory_may_be_touched(start))
			return true; // the end of the file: the program cannot read it either
		copy_words((uintptr_t *)piece, (const volatile uintptr_t *)start, bytes);
		scan_piece(scan, start, bytes, flags);
		return true;
	}
	if ((flags & ROOT_READ_TOLERANT) || !page_has_contents(align_down(start, OS_PAGE_BYTES)))
		return true;
	return root_fail(scan, ROOTS_MEMORY_UNREADABLE, start);
}

static bool scan_by_page(struct root_scan *scan, uintptr_t start, uintptr_t end, unsigned flags)
{
	while (start < end) {
		size_t bytes = min_u64(end - start, OS_PAGE_BYTES - (start & (OS_PAGE_BYTES - 1)));

		if (!scan_page(scan, start, bytes, flags))
			return false;
		start += bytes;
	}
	return true;
}

/* Large ranges, and those that are read at every byte. */
static bool scan_by_piece(struct root_scan *scan, uintptr_t start, uintptr_t end, unsigned flags)
{
	memset(reader.buffer, 0, CARRY_BYTES);
	while (start < end) {
		size_t bytes = min_u64(end - start, PIECE_BYTES);

		if (memory_read(reader.buffer + CARRY_BYTES, start, bytes))
			scan_piece(scan, start, bytes, flags);
		else if (!scan_by_page(scan, start, start + bytes, flags))
			return false;
		start += bytes;
		world_beat();
	}
	return true;
}

/* Reads the batch; if that fails as a whole, piece by piece. */
bool root_reader_finish(struct root_scan *scan)
{
	uint32_t scanner = scan->scanner;
	size_t count = reader.batch.count, bytes = reader.batch.bytes;
	bool complete = true;

	reader.batch.count = 0;
	reader.batch.bytes = 0;
	if (count == 0)
		return true;
	world_beat();
	if (memory_read_pieces(reader.buffer + CARRY_BYTES, reader.batch.pieces, count, bytes)) {
		scan->scanner = reader.batch.owner[count - 1];
		scan_batch(scan, count, bytes);
	} else {
		for (size_t i = 0; i < count && complete; i++) {
			uintptr_t start = (uintptr_t)reader.batch.pieces[i].iov_base;

			scan->scanner = reader.batch.owner[i];
			complete = scan_by_page(scan, start, start + reader.batch.pieces[i].iov_len,
				reader.batch.flags[i]);
		}
	}
	scan->scanner = scanner;
	return complete;
}

bool root_scan_memory(struct root_scan *scan, uintptr_t start, uintptr_t end, unsigned flags)
{
	size_t bytes = end - start, last = reader.batch.count;
	bool is_full = last == BATCH_PIECES || reader.batch.bytes + bytes > PIECE_BYTES;

	if (start >= end)
		return true;
	if (bytes > PIECE_BYTES / 2 || (flags & ROOT_READ_BYTES))
		return root_reader_finish(scan) && scan_by_piece(scan, start, end, flags);
	// a sink wants to know whose words it gets
	if ((is_full ||
		    (scan->sink && last > 0 && reader.batch.owner[last - 1] != scan->scanner)) &&
		!root_reader_finish(scan))
		return false;
	last = reader.batch.count++;
	reader.batch.pieces[last] = (struct iovec){(void *)start, bytes};
	reader.batch.flags[last] = (uint8_t)flags;
	reader.batch.owner[last] = (uint8_t)scan->scanner;
	reader.batch.bytes += bytes;
	return true;
}

/* ---- mappings ---- */

/* How a mapping is read. */
struct reading {
	struct root_scan *scan;
	uintptr_t start; // the part that is wanted
	uintptr_t end;
	unsigned flags;
	uint64_t missing_bytes; // output: of pages that hold nothing, for all that is known
};

static bool read_run(uintptr_t start, uintptr_t end, void *argument)
{
	struct reading *reading = argument;

	reading->missing_bytes -= end - start;
	if (start < reading->start)
		start = reading->start;
	if (end > reading->end)
		end = reading->end;
	return root_scan_memory(reading->scan, start, end, reading->flags);
}

static bool read_pages(struct reading *reading, enum page_choice choice)
{
	uintptr_t start = align_down(reading->start, OS_PAGE_BYTES),
		  end = align_up(reading->end, OS_PAGE_BYTES);

	reading->missing_bytes = end - start;
	return pages_for_each(start, end, choice, read_run, reading) ||
	       root_fail(reading->scan, ROOTS_PAGES_UNREADABLE, reading->start);
}

bool root_read_pages(struct root_scan *scan, uintptr_t start, uintptr_t end,
	enum page_choice choice, unsigned flags)
{
	struct reading reading = {scan, start, end, flags, 0};

	return read_pages(&reading, choice);
}

/*
 * Where pages are missing they may be swapped out. Another process may bring one back while we ask, so what was read before it was known of the mapping whether
 * it has such pages is read again.
 */
static bool read_shared(struct root_scan *scan, const struct mapping *mapping, uintptr_t start,
	uintptr_t end, unsigned flags)
{
	struct reading reading = {scan, start, end, flags, 0};
	bool was_noted = scan->swap_is_noted;

	if (!read_pages(&reading, PAGES_SHARED))
		return false;
	if (reading.missing_bytes == 0 || !maps_swap_is_used())
		return true;
	if (!root_note_swapped(scan))
		return false;
	if (mapping->swapped && !(mapping->protection & PROT_READ) && proc_descriptor(PROC_MEM) < 0)
		return root_fail(scan, ROOTS_MEMORY_UNREADABLE, start);
	if (mapping->swapped)
		return read_pages(&reading, PAGES_WHOLE);
	return was_noted || read_pages(&reading, PAGES_SHARED);
}

static bool read_ring(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	scan->requests_in_flight = true;
	if (!(mapping->protection & PROT_READ))
		return true;
	return root_scan_memory(scan, start, end, ROOT_READ_DIRECT);
}

bool root_read_mapping(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	unsigned flags = (mapping->protection & PROT_EXEC) ? ROOT_READ_BYTES : ROOT_READ_WORDS;
	unsigned direct = (mapping->protection & PROT_READ) ? ROOT_READ_DIRECT : 0;

	switch (mapping->kind) {
	case MAPPING_ANONYMOUS:
	case MAPPING_STACK:
		return root_read_pages(scan, start, end, PAGES_OWN, flags);
	case MAPPING_FILE:
		if (!mapping->shared)
			return root_read_pages(scan, start, end, PAGES_OWN, ROOT_READ_WORDS);
		return !(mapping->protection & PROT_WRITE) ||
		       read_shared(scan, mapping, start, end, ROOT_READ_TOLERANT);
	case MAPPING_SHMEM:
		return read_shared(scan, mapping, start, end, flags);
	case MAPPING_SECRET:
		return root_read_pages(scan, start, end, PAGES_SHARED, direct);
	case MAPPING_RING:
		return read_ring(scan, mapping, start, end);
	case MAPPING_DEVICE:
		return mapping->shared ||
		       root_read_pages(scan, start, end, PAGES_OWN, ROOT_READ_TOLERANT);
	default:
		return true;
	}
}

/* By plain loads where that cannot fault: it is readable memory of its own and all there. */
bool root_read_stack(
	struct root_scan *scan, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
	bool is_plain = (mapping->kind == MAPPING_ANONYMOUS || mapping->kind == MAPPING_STACK) &&
			!mapping->shared &&
			(mapping->protection & (PROT_READ | PROT_EXEC)) == PROT_READ;

	if (!is_plain || end - start > PIECE_BYTES || !pages_are_present(start, end))
		return root_read_mapping(scan, mapping, start, end);
	copy_words((uintptr_t *)(reader.buffer + CARRY_BYTES), (const volatile uintptr_t *)start,
		end - start);
	scan_piece(scan, start, end - start, ROOT_READ_WORDS);
	return true;
}
