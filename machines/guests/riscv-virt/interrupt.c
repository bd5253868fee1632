/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "interrupt.h"

#include "csr.h"
#include "timer.h"

#define SETTLING_US 10000

bool interrupt_settles(unsigned number, bool pending)
{
    struct deadline deadline = deadline_in(SETTLING_US);

    do {
        if ((csr_read(mip) >> number & 1) == pending)
            return true;
    } while (!deadline_passed(&deadline));
    return false;
}

void interrupt_open(unsigned number)
{
    csr_write(mie, IRQ_BIT(number));
    csr_set(mstatus, MSTATUS_MIE);
}

void interrupt_close(unsigned number)
{
    csr_clear(mstatus, MSTATUS_MIE);
    csr_clear(mie, IRQ_BIT(number));
}
