/*
 * The cases of the program `inner` that are C++.
 */
#pragma once

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Objects whose addresses, which the program holds, lie in the middle of their blocks. */
void inner_array(bool fixed);
void inner_aligned_array(bool fixed);
void inner_second_base(bool fixed);
void inner_virtual_base(bool fixed);

#ifdef __cplusplus
}
#endif
