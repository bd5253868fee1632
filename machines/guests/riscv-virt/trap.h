/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the trap entries in trap.S call. */
#ifndef TRAP_H
#define TRAP_H

#include <stdint.h>

#include "layout.h"

struct trap_frame {
    union {
        uint64_t pc;
        uint64_t x[FRAME_SIZE / 8]; /* x[1] to x[31] are the registers of that number */
    };
};

#define FRAME_RA 1
#define FRAME_A0 10

void machine_trap(struct trap_frame *frame);
void supervisor_trap(struct trap_frame *frame);

/* Where stvec points while S-mode runs. */
void supervisor_trap_entry(void);

#endif
