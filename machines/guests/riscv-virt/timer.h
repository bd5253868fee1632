/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The machine timer (RISC-V ACLINT specification, chapter 2) and the deadlines that every wait here has. */
#ifndef TIMER_H
#define TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "report.h"

/* mtime, in ticks of board.timebase. */
uint64_t timer_now(void);

/* Ticks of a number of microseconds, and back. */
uint64_t timer_ticks(uint64_t microseconds);
uint64_t timer_microseconds(uint64_t ticks);

/* Sets hart 0's mtimecmp: the timer interrupt is pending from that tick on. */
void timer_arm(uint64_t tick);
void timer_disarm(void);

/* A point in time. A timer that stands still is no excuse to wait for ever, so the looks at it are counted too. */
struct deadline {
    uint64_t tick;
    uint32_t looks;
};

struct deadline deadline_in(uint64_t microseconds);
bool deadline_passed(struct deadline *deadline);

/* The machine trap handler calls it. */
void timer_interrupt(void);

enum verdict check_time(struct line *line);
enum verdict check_timer_interrupt(struct line *line);
enum verdict check_wfi(struct line *line);

#endif
