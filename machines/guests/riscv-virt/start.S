/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where every hart begins, in M-mode, with its id in a0 and the device tree in a1 (RISC-V boot convention).
 * Hart 0, which every RISC-V machine has (privileged ISA 3.1.5), clears the zeroed part of the image and goes on to
 * main(); the others sleep until it sends them a software interrupt and touch no memory before.
 */
#include "layout.h"

    .section .text.start, "ax", @progbits
    .globl _start
_start:
    csrw mie, zero
    csrci mstatus, 8                /* MIE: no interrupt before there is a handler */
    la t0, trap_entry
    csrw mtvec, t0

    li t0, MAX_HARTS
    bgeu a0, t0, park
    la sp, __stacks
    slli t0, a0, STACK_SHIFT
    add sp, sp, t0
    li t0, TRAP_STACK_SIZE
    add t0, sp, t0
    csrw mscratch, t0               /* the trap handler's stack */
    li t0, 1 << STACK_SHIFT
    add sp, sp, t0
    bnez a0, secondary

    la t0, __bss_start
    la t1, __bss_end
1:  sd zero, 0(t0)
    addi t0, t0, 8
    bltu t0, t1, 1b
    call main
park:
    csrw mie, zero
1:  wfi
    j 1b

/*
 * WFI wakes for an interrupt that mie enables even while mstatus.MIE is clear (privileged ISA 3.3.3), so the wait
 * needs no handler. It may also wake for no reason: mip decides.
 */
secondary:
    mv s0, a0
1:  csrwi mie, 8                    /* MSIE */
    wfi
    csrr t0, mip
    andi t0, t0, 8                  /* MSIP */
    beqz t0, 1b
    fence
    mv a0, s0
    call hart_called
    j 1b
