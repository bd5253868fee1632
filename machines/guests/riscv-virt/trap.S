/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Trap entries of M-mode and S-mode: save the integer registers, call C with the frame, restore, return. */
#include "layout.h"

    .macro save_registers
    sd x1, 8(sp)
    /* x2 is the stack pointer: each entry stores it itself */
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd x\n, 8*\n(sp)
    .endr
    .endm

    .macro restore_registers
    ld x1, 8(sp)
    .irp n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld x\n, 8*\n(sp)
    .endr
    .endm

    .section .text.trap_entry, "ax", @progbits
    .balign 4
    .globl trap_entry
trap_entry:
    csrrw sp, mscratch, sp          /* mscratch holds the trap stack; it now keeps the interrupted sp */
    addi sp, sp, -FRAME_SIZE
    save_registers
    csrr t0, mscratch
    sd t0, 16(sp)
    csrr t0, mepc
    sd t0, 0(sp)
    addi t1, sp, FRAME_SIZE
    csrw mscratch, t1               /* the trap stack is empty again once the frame is popped */
    mv a0, sp
    call machine_trap
    ld t0, 0(sp)
    csrw mepc, t0
    restore_registers
    ld sp, 16(sp)
    mret

/* S-mode runs C of ours on a good stack only, so the frame goes there. */
    .section .text.supervisor_trap_entry, "ax", @progbits
    .balign 4
    .globl supervisor_trap_entry
supervisor_trap_entry:
    addi sp, sp, -FRAME_SIZE
    save_registers
    addi t0, sp, FRAME_SIZE
    sd t0, 16(sp)
    csrr t0, sepc
    sd t0, 0(sp)
    mv a0, sp
    call supervisor_trap
    ld t0, 0(sp)
    csrw sepc, t0
    restore_registers
    ld sp, 16(sp)
    sret
