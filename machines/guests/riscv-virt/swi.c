/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "swi.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
#include "interrupt.h"
#include "mmio.h"
#include "mode.h"
#include "timer.h"
#include "trap.h"

static volatile unsigned machine_interrupts;
static volatile unsigned supervisor_interrupts;

void swi_raise(uint32_t hart) { mmio_write32(board.mswi + 4UL * hart, 1); }
void swi_drop(uint32_t hart) { mmio_write32(board.mswi + 4UL * hart, 0); }

void swi_machine_interrupt(void)
{
    swi_drop((uint32_t)csr_read(mhartid));
    interrupt_settles(IRQ_MACHINE_SOFTWARE, false); /* or one request could be taken twice */
    machine_interrupts++;
}

void swi_supervisor_interrupt(void)
{
    csr_clear(sip, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    supervisor_interrupts++;
}

enum verdict check_machine_swi(struct line *line)
{
    machine_interrupts = 0;
    interrupt_open(IRQ_MACHINE_SOFTWARE);
    swi_raise(0);
    struct deadline deadline = deadline_in(500000);
    while (!machine_interrupts && !deadline_passed(&deadline))
        ;
    interrupt_close(IRQ_MACHINE_SOFTWARE);
    swi_drop(0);
    bool gone = interrupt_settles(IRQ_MACHINE_SOFTWARE, false);
    line_append(line, "msip raised once, taken %u time%s, %s after it was dropped", machine_interrupts,
                machine_interrupts == 1 ? "" : "s", gone ? "gone" : "still pending");
    return machine_interrupts == 1 && gone ? PASSED : FAILED;
}

/* In S-mode: opens its interrupts and waits for the first. `raise` says who raises it. */
static uint64_t supervisor_waits(uint64_t raise)
{
    csr_write(stvec, (uint64_t)supervisor_trap_entry);
    csr_set(sie, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    csr_set(sstatus, SSTATUS_SIE);
    if (raise)
        csr_set(sip, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    /* M-mode's limit of an excursion ends this loop if nothing comes. */
    while (!supervisor_interrupts)
        ;
    csr_clear(sstatus, SSTATUS_SIE);
    csr_clear(sie, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    return supervisor_interrupts;
}

static bool supervisor_takes(struct line *line, const char *who, bool raise)
{
    supervisor_interrupts = 0;
    struct excursion excursion = mode_call(SUPERVISOR, supervisor_waits, raise);
    bool good = excursion.finished && excursion.value == 1;

    if (!good)
        line_append(line, "raised by %s: taken %u times, S-mode ended with cause %lx; ", who, supervisor_interrupts,
                    excursion.cause);
    csr_clear(mip, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    csr_clear(mstatus, SSTATUS_SIE);
    csr_clear(mie, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    return good;
}

enum verdict check_supervisor_swi(struct line *line)
{
    csr_write(medeleg, 0);
    csr_write(mideleg, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    bool good = supervisor_takes(line, "itself", true);
    csr_set(mip, IRQ_BIT(IRQ_SUPERVISOR_SOFTWARE));
    good = supervisor_takes(line, "M-mode", false) && good;
    if (board.sswi) {
        mmio_write32(board.sswi, 1); /* SETSSIP of hart 0 */
        good = supervisor_takes(line, "the ACLINT", false) && good;
    }
    csr_write(mideleg, 0);
    if (good)
        line_append(line, "delegated, taken in S-mode when raised by itself, by M-mode%s",
                    board.sswi ? " and by the ACLINT" : " (no SSWI)");
    return good ? PASSED : FAILED;
}
