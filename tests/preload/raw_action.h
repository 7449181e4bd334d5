/*
 * Handlers set past libc, by the system call alone: the struct as the kernel takes it, and the return from the handler, which must not be without.
 */
#pragma once

struct raw_action {
	void (*handler)(int);
	unsigned long flags; // with SA_RESTORER
	void (*restorer)(void);
	unsigned long mask;
};

void raw_return(void);
__asm__(".globl raw_return\n"
	"raw_return:\n\t"
	"mov $15, %eax\n\t"
	"syscall\n");
