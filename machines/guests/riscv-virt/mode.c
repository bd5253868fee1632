/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "mode.h"

#include "csr.h"
#include "timer.h"

#define LIMIT_US 1000000

uint64_t mode_descend(uint64_t (*function)(uint64_t), uint64_t argument, uint64_t mpp);
extern char mode_ascend[], mode_finished[];

static volatile bool under_way;
static volatile bool ended;
static volatile uint64_t end_cause;
static volatile uint64_t given_up_cause; /* scause of a trap that S-mode could not deal with; 0 if none */
static volatile bool finished;

struct excursion mode_call(enum mode mode, uint64_t (*function)(uint64_t), uint64_t argument)
{
    ended = false;
    finished = false;
    end_cause = 0;
    given_up_cause = 0;
    under_way = true;
    timer_arm(timer_now() + timer_ticks(LIMIT_US));
    csr_set(mie, IRQ_BIT(IRQ_MACHINE_TIMER));
    uint64_t value = mode_descend(function, argument, (uint64_t)mode << MSTATUS_MPP_SHIFT);
    csr_clear(mie, IRQ_BIT(IRQ_MACHINE_TIMER));
    timer_disarm();
    under_way = false;
    return (struct excursion){ finished, end_cause, value };
}

static void end(uint64_t cause)
{
    ended = true;
    end_cause = cause;
}

bool mode_left(struct trap_frame *frame, uint64_t cause)
{
    bool ecall = cause == CAUSE_ECALL_USER || cause == CAUSE_ECALL_SUPERVISOR;

    if (!under_way)
        return false;
    finished = ecall && frame->pc == (uint64_t)mode_finished;
    end(ecall && given_up_cause ? given_up_cause : cause);
    return true;
}

bool mode_timed_out(void)
{
    if (!under_way)
        return false;
    end(CAUSE_INTERRUPT | IRQ_MACHINE_TIMER);
    return true;
}

void mode_ascend_if_due(struct trap_frame *frame)
{
    if (!ended)
        return;
    ended = false;
    frame->pc = (uint64_t)mode_ascend;
    csr_set(mstatus, MSTATUS_MPP);
    csr_clear(mstatus, MSTATUS_MPIE);
}

void mode_give_up(void)
{
    given_up_cause = csr_read(scause);
    __asm__ volatile("ecall" : : : "memory");
}
