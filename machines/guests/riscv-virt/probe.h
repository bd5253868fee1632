/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Trying an instruction that may trap, in any mode. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "trap.h"

/* What happened: either no trap, and the value that the instruction gave, or the trap as its handler saw it. */
struct outcome {
    bool trapped;
    uint64_t cause;
    uint64_t trap_value;
    uint64_t pc;
    uint64_t value;
};

typedef uint64_t (*attempt)(uint64_t, uint64_t);

/* Calls one of the functions below and tells what came of it. */
struct outcome probe(attempt attempt, uint64_t first, uint64_t second);

/* From probe.S: (address), (address, value), (address to jump to), (). */
uint64_t try_load64(uint64_t, uint64_t);
uint64_t try_load32(uint64_t, uint64_t);
uint64_t try_load8(uint64_t, uint64_t);
uint64_t try_store64(uint64_t, uint64_t);
uint64_t try_store32(uint64_t, uint64_t);
uint64_t try_store8(uint64_t, uint64_t);
uint64_t try_jump(uint64_t, uint64_t);
uint64_t try_illegal32(uint64_t, uint64_t);
uint64_t try_illegal16(uint64_t, uint64_t);
uint64_t try_ebreak(uint64_t, uint64_t);
uint64_t try_write_read_only_csr(uint64_t, uint64_t);
uint64_t try_read_mstatus(uint64_t, uint64_t);
uint64_t try_ecall(uint64_t, uint64_t);
/* (pmpaddr0, pmpcfg0) */
uint64_t try_open_pmp(uint64_t, uint64_t);

/* If a probe is under way: notes the trap, lets the frame return to the probe's caller, and says so. */
bool probe_caught(struct trap_frame *frame, uint64_t cause, uint64_t value);

#endif
