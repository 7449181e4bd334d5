/*
 * Wrappers that must not be on the stack when libc's function runs: each does its part and jumps.
 *
 *	dlopen	libc looks at its return address to find whose RUNPATH and $ORIGIN count; a C wrapper built without optimisation would be taken for the caller
 *	vfork	the child returns first, on the parent's stack: a frame of ours would be gone when the parent returns
 *	clone	the child starts on another stack
 *	makecontext	has as many arguments as the caller likes
 *	syscall	for the calls that do not block (clone among them); the others go to syscall_gated() in syscall.c
 */
#if defined(__x86_64__)

	.macro	entry name
	.globl	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	endbr64
	.endm

	.macro	finish name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.macro	save register
	push	\register
	.cfi_adjust_cfa_offset 8
	.endm

	.macro	restore register
	pop	\register
	.cfi_adjust_cfa_offset -8
	.endm

	// all that C passes in registers; the stack is aligned for a call
	.macro	save_arguments
	save	%rdi
	save	%rsi
	save	%rdx
	save	%rcx
	save	%r8
	save	%r9
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	.endm

	.macro	restore_arguments
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	restore	%r9
	restore	%r8
	restore	%rcx
	restore	%rdx
	restore	%rsi
	restore	%rdi
	.endm

	.text

/* RTLD_DEEPBIND is dropped: with it a library's malloc and free would be libc's. jump_dlopen(file, mode) notes the call; rax: libc's dlopen. */
	entry	dlopen
	and	$~8, %esi
	save	%rdi
	save	%rsi
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	jump_dlopen
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	restore	%rsi
	restore	%rdi
	jmp	*%rax
	finish	dlopen

	entry	vfork
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	jump_vfork
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	jmp	*%rax
	finish	vfork
	.globl	__vfork
	.set	__vfork, vfork

/* clone(function, stack, flags, argument, ...): jump_clone(flags) */
	entry	clone
	save_arguments
	mov	%rdx, %rdi
	call	jump_clone
	restore_arguments
	jmp	*%rax
	finish	clone
	.globl	__clone
	.set	__clone, clone

/* makecontext(context, function, count, ...): jump_makecontext(context) */
	entry	makecontext
	save_arguments
	call	jump_makecontext
	restore_arguments
	jmp	*%rax
	finish	makecontext

/* syscall(number, ...): by table. What is not gated is done here, as libc does it. */
	entry	syscall
	cmp	$512, %rdi
	jae	1f
	lea	syscall_way(%rip), %rax
	cmpb	$1, (%rax, %rdi)
	je	syscall_gated
	ja	syscall_guarded
1:	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	cmp	$-4095, %rax
	jae	2f
	ret
2:	neg	%eax
	mov	%eax, %edi
	jmp	syscall_failed_with
	finish	syscall

#else
#error "unknown machine: add its jumps here"
#endif

	.section .note.GNU-stack, "", @progbits
