/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "timer.h"

#include "board.h"
#include "csr.h"
#include "interrupt.h"
#include "mmio.h"
#include "mode.h"

#define MAX_LOOKS 20000000

static volatile uint64_t interrupt_tick; /* when the interrupt was taken; 0 before */
static bool interrupt_works;

uint64_t timer_now(void) { return mmio_read64(board.mtime); }
uint64_t timer_ticks(uint64_t microseconds) { return microseconds * board.timebase / 1000000; }
uint64_t timer_microseconds(uint64_t ticks) { return ticks * 1000000 / board.timebase; }
void timer_arm(uint64_t tick) { mmio_write64(board.mtimecmp, tick); }
void timer_disarm(void) { timer_arm(UINT64_MAX); }

struct deadline deadline_in(uint64_t microseconds)
{
    return (struct deadline){ timer_now() + timer_ticks(microseconds), MAX_LOOKS };
}

bool deadline_passed(struct deadline *deadline)
{
    return timer_now() >= deadline->tick || deadline->looks-- == 0;
}

void timer_interrupt(void)
{
    uint64_t now = timer_now();

    timer_disarm();
    interrupt_settles(IRQ_MACHINE_TIMER, false); /* or one request could be taken twice */
    if (!mode_timed_out())
        interrupt_tick = now;
}

enum verdict check_time(struct line *line)
{
    struct deadline deadline = deadline_in(500000);
    uint64_t start = timer_now(), before = start, steps = 0;

    while (!deadline_passed(&deadline) && steps < 100) {
        uint64_t now = timer_now();

        if (now < before) {
            line_append(line, "mtime went back from %lu to %lu", before, now);
            return FAILED;
        }
        steps += now != before;
        before = now;
    }
    if (!steps) {
        line_append(line, "mtime stands still at %lu", start);
        return FAILED;
    }
    /* The time CSR shows mtime (privileged ISA 3.2.1); it is read between two looks at the original. */
    uint64_t low = timer_now();
    uint64_t shown = csr_read(time);
    uint64_t high = timer_now();
    /* It may trail by the time that an update takes to reach the hart. */
    if (shown + timer_ticks(1000) < low || shown > high + timer_ticks(1000)) {
        line_append(line, "time shows %lu, mtime was %lu and then %lu", shown, low, high);
        return FAILED;
    }
    line_append(line, "mtime runs at %u kHz and never back, the time CSR follows it", board.timebase / 1000);
    return PASSED;
}

enum verdict check_timer_interrupt(struct line *line)
{
    interrupt_works = false;
    interrupt_tick = 0;
    timer_arm(timer_now() + timer_ticks(60000000));
    if (!interrupt_settles(IRQ_MACHINE_TIMER, false)) {
        line_append(line, "pending although mtimecmp is a minute ahead");
        timer_disarm();
        return FAILED;
    }
    uint64_t due = timer_now() + timer_ticks(1000);
    timer_arm(due);
    interrupt_open(IRQ_MACHINE_TIMER);
    struct deadline deadline = deadline_in(500000);
    while (!interrupt_tick && !deadline_passed(&deadline))
        ;
    interrupt_close(IRQ_MACHINE_TIMER);
    timer_disarm();
    if (!interrupt_tick) {
        line_append(line, "not taken within 0.5 s");
        return FAILED;
    }
    if (interrupt_tick < due) {
        line_append(line, "taken %lu ticks early", due - interrupt_tick);
        return FAILED;
    }
    line_append(line, "programmed 1000 us ahead, taken %lu us after it was due",
                timer_microseconds(interrupt_tick - due));
    interrupt_works = true;
    return PASSED;
}

enum verdict check_wfi(struct line *line)
{
    unsigned wakes = 0;

    if (!interrupt_works) {
        line_append(line, "not tried: nothing would wake the hart");
        return FAILED;
    }
    uint64_t start = timer_now(), due = start + timer_ticks(1000);
    struct deadline deadline = deadline_in(500000);

    timer_arm(due);
    csr_set(mie, IRQ_BIT(IRQ_MACHINE_TIMER));
    /* mstatus.MIE stays clear: the hart wakes without a trap (privileged ISA 3.3.3). */
    while (!(csr_read(mip) & IRQ_BIT(IRQ_MACHINE_TIMER)) && !deadline_passed(&deadline)) {
        __asm__ volatile("wfi");
        wakes++;
    }
    uint64_t pending = csr_read(mip) & IRQ_BIT(IRQ_MACHINE_TIMER), now = timer_now();
    csr_clear(mie, IRQ_BIT(IRQ_MACHINE_TIMER));
    timer_disarm();
    if (!pending || now < due) {
        line_append(line, "awake after %lu us, timer %spending", timer_microseconds(now - start),
                    pending ? "" : "not ");
        return FAILED;
    }
    if (!interrupt_settles(IRQ_MACHINE_TIMER, false)) {
        line_append(line, "the timer stays pending after mtimecmp went ahead again");
        return FAILED;
    }
    line_append(line, "slept %lu us in %u WFI until the timer was pending", timer_microseconds(now - start), wakes);
    return PASSED;
}
