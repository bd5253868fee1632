/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Control and status registers: access and bit names (RISC-V privileged ISA, chapters 3 and 4). */
#ifndef CSR_H
#define CSR_H

#include <stdint.h>

#define csr_read(name)                                                   \
    ({                                                                   \
        uint64_t value_;                                                 \
        __asm__ volatile("csrr %0, " #name : "=r"(value_) : : "memory"); \
        value_;                                                          \
    })
#define csr_write(name, value) __asm__ volatile("csrw " #name ", %0" : : "rK"((uint64_t)(value)) : "memory")
#define csr_set(name, bits) __asm__ volatile("csrs " #name ", %0" : : "rK"((uint64_t)(bits)) : "memory")
#define csr_clear(name, bits) __asm__ volatile("csrc " #name ", %0" : : "rK"((uint64_t)(bits)) : "memory")

#define MSTATUS_MIE (1UL << 3)
#define MSTATUS_MPIE (1UL << 7)
#define MSTATUS_MPP_SHIFT 11
#define MSTATUS_MPP (3UL << MSTATUS_MPP_SHIFT)
#define SSTATUS_SIE (1UL << 1)
#define SSTATUS_SUM (1UL << 18)
#define SSTATUS_MXR (1UL << 19)

/* Interrupt numbers; their bits in mie and mip are 1 << number. */
#define IRQ_SUPERVISOR_SOFTWARE 1
#define IRQ_MACHINE_SOFTWARE 3
#define IRQ_MACHINE_TIMER 7
#define IRQ_MACHINE_EXTERNAL 11
#define IRQ_BIT(number) (1UL << (number))

/* mcause and scause. */
#define CAUSE_INTERRUPT (1UL << 63)
#define CAUSE_ILLEGAL_INSTRUCTION 2
#define CAUSE_BREAKPOINT 3
#define CAUSE_LOAD_MISALIGNED 4
#define CAUSE_LOAD_ACCESS 5
#define CAUSE_STORE_ACCESS 7
#define CAUSE_FETCH_ACCESS 1
#define CAUSE_ECALL_USER 8
#define CAUSE_ECALL_SUPERVISOR 9
#define CAUSE_FETCH_PAGE 12
#define CAUSE_LOAD_PAGE 13
#define CAUSE_STORE_PAGE 15

#endif
