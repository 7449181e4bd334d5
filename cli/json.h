/*
 * Fields of JSON objects, as all commands write them: text is made printable, addresses are hexadecimal text (they need more than the 53 bits that readers keep).
 */
#pragma once

#include "cli/memory.h"
#include "cli/render.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>

static inline void add_number(json_object *object, const char *name, uint64_t number)
{
	json_object_object_add(object, name, json_object_new_uint64(number));
}

static inline void add_text(json_object *object, const char *name, const char *text)
{
	char *copy = printable(text);

	json_object_object_add(object, name, json_object_new_string(copy));
	free(copy);
}

static inline void add_address(json_object *object, const char *name, uint64_t address)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, address);
	add_text(object, name, text);
}
