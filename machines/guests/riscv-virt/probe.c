/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "probe.h"

/* One at a time, and by hart 0 only. */
static volatile bool under_way;
static volatile struct outcome caught;

struct outcome probe(attempt attempt, uint64_t first, uint64_t second)
{
    caught.trapped = false;
    under_way = true;
    uint64_t value = attempt(first, second);
    under_way = false;
    if (caught.trapped)
        return (struct outcome){ true, caught.cause, caught.trap_value, caught.pc, 0 };
    return (struct outcome){ .value = value };
}

bool probe_caught(struct trap_frame *frame, uint64_t cause, uint64_t value)
{
    if (!under_way)
        return false;
    under_way = false;
    caught.trapped = true;
    caught.cause = cause;
    caught.trap_value = value;
    caught.pc = frame->pc;
    frame->pc = frame->x[FRAME_RA];
    return true;
}
