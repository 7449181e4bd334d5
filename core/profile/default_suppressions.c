#include "core/profile/default_suppressions.h"

#include "core/base/atomic.h"
#include "core/os/memory.h"

#include <string.h>

enum { TEXT_BYTES_MAX = 64 * 1024 };

/* Atomic: the collector may write a file while it is set. A former copy is left: it may be being read. */
static const char *kept;

void default_suppressions_set(const char *text)
{
	size_t length = 0;
	char *copy;

	if (!text || strcmp(text, default_suppressions()) == 0)
		return;
	while (length < TEXT_BYTES_MAX - 1 && text[length])
		length++;
	copy = os_map(length + 1);
	if (!copy)
		return;
	memcpy(copy, text, length);
	store_release(&kept, copy);
}

const char *default_suppressions(void)
{
	const char *text = load_acquire(&kept);

	return text ? text : "";
}
