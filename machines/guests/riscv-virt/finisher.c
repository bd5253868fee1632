/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "finisher.h"

#include "board.h"
#include "csr.h"
#include "mmio.h"

#define FINISH_FAIL 0x3333
#define FINISH_PASS 0x5555
#define FINISH_RESET 0x7777

static void finish(uint32_t value) __attribute__((noreturn));
static void finish(uint32_t value)
{
    mmio_write32(board.finisher, value);
    /* The machine may take a moment to go: sleep with nothing enabled that would wake the hart. */
    csr_write(mie, 0);
    for (;;)
        __asm__ volatile("wfi");
}

void finisher_power_off(void) { finish(FINISH_PASS); }
void finisher_reset(void) { finish(FINISH_RESET); }
void finisher_fail(unsigned code) { finish(FINISH_FAIL | code << 16); }
