/*
 * Does a word name a block as the program that owns it does, or does it only fall into its middle? In a child that is a copy of the process (copy.h), for the kind POSSIBLE.
 *
 * Exact is the block's first byte, with tags in the low three bits and in the top 17 or without; and what is known to be kept in its place:
 *
 *	+8, +16, +32, +64	behind the number of elements of an array (C++), or behind a length or size that is kept in front
 *	+9, +17			strings with their length and capacity in front, as redis has them (sds)
 *	+16, +32		objects of CPython, behind words of its collector: a count of references, then a type
 *	+24			std::string of the old kind: length, capacity and count of references in front
 *	up to +255, of 8	behind a front whose last byte says how long it is, as values of CPython's attributes are
 *	any, of 8		a base class of a C++ object: there, and at the block's beginning, stands an address in a module, as of a table of functions
 *
 * Numbers in front count if they fit into the block and are not 0. So a pointer into the middle may pass for an exact one, and hardly the other way round.
 */
#pragma once

#include "core/heap/heap.h"

#include <stdbool.h>
#include <stdint.h>

/* `word`, an address without a tag in the top bits, lies in the slot. The list of modules was brought up to date. */
bool exact_word(uintptr_t word, struct slot slot);
