/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Excursions of hart 0 into S-mode and U-mode. */
#ifndef MODE_H
#define MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "trap.h"

enum mode { USER = 0, SUPERVISOR = 1 };

struct excursion {
    bool finished;  /* the function returned: `value` is its result */
    uint64_t cause; /* otherwise: mcause of the trap that ended it; the timer's if it took longer than a second */
    uint64_t value;
};

/*
 * Calls the function in a lower mode, on the same stack, so memory must look the same there. M-mode keeps the timer
 * for a limit of one second, and no other interrupt.
 */
struct excursion mode_call(enum mode mode, uint64_t (*function)(uint64_t), uint64_t argument);

/* For an exception that nobody else wants: ends the excursion if one is under way. */
bool mode_left(struct trap_frame *frame, uint64_t cause);

/* For the timer interrupt: whether it was the limit of an excursion, which then ends. */
bool mode_timed_out(void);

/* Turns the frame of an excursion that has ended into the way back to M-mode. */
void mode_ascend_if_due(struct trap_frame *frame);

/* For the S-mode trap handler: ends the excursion, with scause as its cause. */
void mode_give_up(void);

#endif
