/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "swi.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
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
    csr_set(mie, IRQ_BIT(IRQ_MACHINE_SOFTWARE));
    csr_set(mstatus, MSTATUS_MIE);
    swi_raise(0);
    struct deadline deadline = deadline_in(100000);
    while (!machine_interrupts && !deadline_passed(&deadline))
        ;
    csr_clear(mstatus, MSTATUS_MIE);
    csr_clear(mie, IRQ_BIT(IRQ_MACHINE_SOFTWARE));
    swi_drop(0);
    bool pending = csr_read(mip) & IRQ_BIT(IRQ_MACHINE_SOFTWARE);
    line_append(line, "msip raised once, taken %u times, %s after it was dropped", machine_interrupts,
                pending ? "still pending" : "gone");
    return machine_interrupts == 1 && !pending ? PASSED : FAILED;
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
