/*
 * What the program does to mappings, where other calls need to tell of it.
 */
#pragma once

/*
 * Before an ioctl of the program. Where it begins to watch memory itself (userfaultfd: live migration of virtual machines does) we let go of all that is not the heap; takes two
 * cycles if there is any. A system call made by the program's own instructions is not seen.
 */
void mappings_before_ioctl(unsigned long request);
