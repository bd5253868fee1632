/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The instructions that probe() tries. Each is a leaf function that keeps ra and touches no stack: the trap handler
 * gives up on one by returning to ra.
 */
    .macro probe name
    .section .text.\name, "ax", @progbits
    .balign 4
    .globl \name
\name:
    .endm

    probe try_load64
    ld a0, 0(a0)
    ret
    probe try_load32
    lwu a0, 0(a0)
    ret
    probe try_load8
    lbu a0, 0(a0)
    ret
    probe try_store64
    sd a1, 0(a0)
    ret
    probe try_store32
    sw a1, 0(a0)
    ret
    probe try_store8
    sb a1, 0(a0)
    ret
    probe try_jump                  /* the target returns to our caller, or the fetch traps with our caller's ra */
    jr a0
    probe try_illegal32
    .4byte 0xffffffff               /* all ones is reserved as illegal (unprivileged ISA 1.5) */
    ret
    probe try_illegal16
    .2byte 0                        /* so is all zeros */
    ret
    probe try_ebreak
    .option push
    .option norvc
    ebreak
    .option pop
    ret
    probe try_write_read_only_csr
    csrw 0xf11, zero                /* mvendorid */
    ret
    probe try_read_mstatus
    csrr a0, mstatus
    ret
    probe try_open_pmp              /* a hart without PMP has none of its registers */
    csrw pmpaddr0, a0
    csrw pmpcfg0, a1
    ret
    probe try_ecall
    ecall
    ret
