/*
 * Which allocations get a stack. The distance between two samples, in allocated bytes, is drawn from an exponential distribution with mean
 * options.sample_bytes, as in Go and tcmalloc: every byte has the same chance, and no period of the program can hide between samples.
 */
#pragma once

#include <stdint.h>

#define SAMPLER_NEVER UINT64_MAX

/* A number below `bound`, which is small. *random_state is any value, and is advanced. */
unsigned sampler_random(uint64_t *random_state, unsigned bound);

/* Bytes until the next sample: 0 with stacks=all (every block), SAMPLER_NEVER with stacks=off. *random_state is any value, and is advanced. */
uint64_t sampler_next(uint64_t *random_state);
