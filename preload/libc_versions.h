/*
 * libc 2.34 gave some functions new versions when it took in libdl and libpthread. Whoever calls one of these includes this header and gets the old version,
 * which every libc has and which means the same. The rest of that kind is called through preload/real.h.
 */
#pragma once

#include "core/base/attr.h"

__asm__(".symver dlsym, dlsym@" LIBC_OLDEST);
__asm__(".symver dlvsym, dlvsym@" LIBC_OLDEST);
