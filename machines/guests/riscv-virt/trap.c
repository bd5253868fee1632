/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "trap.h"

#include "console.h"
#include "csr.h"
#include "finisher.h"
#include "mode.h"
#include "plic.h"
#include "probe.h"
#include "report.h"
#include "swi.h"
#include "timer.h"

/* Exit code of a run that an unexpected trap ends; no number of failed checks comes near. */
#define UNEXPECTED_TRAP 255

static void unexpected(uint64_t cause, uint64_t value, uint64_t pc)
{
    console_print("\nunexpected trap to M-mode on hart %lu: cause %lx, value %lx, pc %lx, check: %s\n",
                  csr_read(mhartid), cause, value, pc, report_current());
    finisher_fail(UNEXPECTED_TRAP);
}

void machine_trap(struct trap_frame *frame)
{
    uint64_t cause = csr_read(mcause), value = csr_read(mtval);

    if (cause == (CAUSE_INTERRUPT | IRQ_MACHINE_TIMER))
        timer_interrupt();
    else if (cause == (CAUSE_INTERRUPT | IRQ_MACHINE_EXTERNAL))
        plic_interrupt();
    else if (cause == (CAUSE_INTERRUPT | IRQ_MACHINE_SOFTWARE))
        swi_machine_interrupt();
    else if (!probe_caught(frame, cause, value) && !mode_left(frame, cause))
        unexpected(cause, value, frame->pc);
    mode_ascend_if_due(frame);
}

void supervisor_trap(struct trap_frame *frame)
{
    uint64_t cause = csr_read(scause), value = csr_read(stval);

    if (cause == (CAUSE_INTERRUPT | IRQ_SUPERVISOR_SOFTWARE))
        swi_supervisor_interrupt();
    else if (!probe_caught(frame, cause, value))
        /* S-mode may not reach the console: M-mode takes it from here, as an excursion that ended early. */
        mode_give_up();
}
