/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The way down to S-mode or U-mode and back up; mode.c has the rest. */

/*
 * uint64_t mode_descend(uint64_t (*function)(uint64_t), uint64_t argument, uint64_t mpp)
 *
 * Calls the function in the mode that mpp (already shifted to mstatus.MPP) names. The machine trap handler ends the
 * excursion by returning to mode_ascend with the result in a0.
 */
    .section .text.mode_descend, "ax", @progbits
    .balign 4
    .globl mode_descend
mode_descend:
    la t0, mode_saved
    sd ra, 0(t0)
    sd sp, 8(t0)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11
    sd s\n, 16+8*\n(t0)
    .endr
    csrw mepc, a0
    li t1, 0x21880                  /* MPRV, MPP, MPIE */
    csrc mstatus, t1
    csrs mstatus, a2
    mv a0, a1
    la ra, mode_finished
    mret

    .balign 4
    .globl mode_finished
mode_finished:
    ecall
    j mode_finished

    .balign 4
    .globl mode_ascend
mode_ascend:
    la t0, mode_saved
    ld ra, 0(t0)
    ld sp, 8(t0)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11
    ld s\n, 16+8*\n(t0)
    .endr
    ret

    .section .bss.mode_saved, "aw", @nobits
    .balign 8
mode_saved:
    .zero 14 * 8
