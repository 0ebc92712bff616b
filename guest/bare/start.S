/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From the reset vector to 64-bit mode, for the first processor and for the others, and the
 * entries of interrupts (Intel SDM volume 3, chapters 9 and 10, and 6.14).
 */

/* Where the image is before it is copied, and from there to where it is linked. */
#define ROM		0xffff0000
#define LINKED		0x100000
#define TO_ROM		(ROM - LINKED)
#define IMAGE_BYTES	0x10000
/* Where a processor begins that is started by another: a page below 1 MiB. */
#define TRAMPOLINE	0x8000

#define CODE32		0x08
#define DATA		0x10
#define CODE64		0x18

#define EFER		0xc0000080

/* From here on uncached: configuration space, BARs, interrupt controllers. */
#define UNCACHED	0xb0000000
/* A window of 1 GiB for BARs above 4 GiB: guest/bare/pci.h. */
#define HIGH_GIB	32
#define PAGE_2M		0x83
#define PAGE_2M_UNCACHED 0x9b

	.section .reset, "ax"
	.code16
	.globl reset
reset:
	jmp	start16

	.section .real, "ax"
	.code16
start16:
	cli
	cld
	lgdtl	%cs:(gdt_rom - LINKED)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$CODE32, $(start32 + TO_ROM)

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
gdt_end:
gdt_rom:
	.word	gdt_end - gdt - 1
	.long	gdt + TO_ROM
	.balign	8
gdt_ram:
	.word	gdt_end - gdt - 1
	.quad	gdt

/* What another processor runs first; copied to TRAMPOLINE. */
	.globl	trampoline, trampoline_end
trampoline:
	cli
	cld
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	(TRAMPOLINE + (trampoline_gdt - trampoline))
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$CODE32, $other32
	.balign	8
trampoline_gdt:
	.word	gdt_end - gdt - 1
	.long	gdt
trampoline_end:

	.text
	.code32
start32:
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$ROM, %esi
	movl	$LINKED, %edi
	movl	$(IMAGE_BYTES / 4), %ecx
	rep movsl
	ljmpl	$CODE32, $copied

copied:
	movl	$bss_begin, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	xorl	%eax, %eax
	rep stosl

	/* The first 4 GiB and the window, one to one, in pages of 2 MiB. */
	movl	$(pdpt + 3), pml4
	movl	$(pd + 0x0003), pdpt
	movl	$(pd + 0x1003), pdpt + 8
	movl	$(pd + 0x2003), pdpt + 16
	movl	$(pd + 0x3003), pdpt + 24
	movl	$(pd + 0x4003), pdpt + 8 * HIGH_GIB
	movl	$pd, %edi
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$21, %eax
	movl	$PAGE_2M, %edx
	cmpl	$(UNCACHED >> 21), %ecx
	jb	2f
	movl	$PAGE_2M_UNCACHED, %edx
2:	orl	%edx, %eax
	movl	%eax, (%edi)
	addl	$8, %edi
	incl	%ecx
	cmpl	$2048, %ecx
	jb	1b
	xorl	%ecx, %ecx
3:	movl	%ecx, %eax
	shll	$21, %eax
	orl	$PAGE_2M_UNCACHED, %eax
	movl	%eax, (%edi)
	movl	$(HIGH_GIB / 4), 4(%edi)
	addl	$8, %edi
	incl	%ecx
	cmpl	$512, %ecx
	jb	3b

	movl	$first_stack_end, %esp
	movl	$start64, %ebx
	jmp	enter64

other32:
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$other_stack_end, %esp
	movl	$other64, %ebx

/* To the 64-bit code at %ebx, on the stack at %esp. */
enter64:
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$EFER, %ecx
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	/* Paging on, caches on. */
	orl	$0x80000000, %eax
	andl	$0x9fffffff, %eax
	movl	%eax, %cr0
	ljmpl	$CODE64, $in64

	.code64
in64:
	lgdt	gdt_ram
	movl	%esp, %esp
	movl	%ebx, %ebx
	call	*%rbx
4:	hlt
	jmp	4b

/* An entry of 16 bytes for each vector; those of exceptions with an error code have one. */
	.balign	16
	.globl	entries
entries:
	vector = 0
	.rept	256
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq	$0
	.endif
	pushq	$vector
	jmp	common
	vector = vector + 1
	.endr

common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	/* Vector, error code, address of the instruction. */
	movq	72(%rsp), %rdi
	movq	80(%rsp), %rsi
	movq	88(%rsp), %rdx
	call	interrupt
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.bss
	.balign	4096
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	5 * 4096
	.skip	16384
first_stack_end:
	.skip	16384
other_stack_end:

	.section .note.GNU-stack, "", @progbits
