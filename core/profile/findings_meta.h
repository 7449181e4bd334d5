/*
 * What a file of findings says of the process itself.
 */
#pragma once

#include "core/profile/findings_writer.h"

/* Fills in whose file it is, when it is written, and which stacks are kept: process, written_ns, age_ns, sample_bytes, command, executable and stacks. */
void findings_describe_process(struct findings_writer *writer, struct findings_meta *meta);
