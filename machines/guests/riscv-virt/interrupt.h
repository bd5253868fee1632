/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The interrupts of the hart that asks, as mip, mie and mstatus have them (privileged ISA 3.1.9). */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdbool.h>

/*
 * Whether the pending bit of that number takes the value. A change at its source reaches mip "eventually, but not
 * necessarily immediately", so this looks for a while.
 */
bool interrupt_settles(unsigned number, bool pending);

/* Takes interrupts of that number, and no other, until interrupt_close(). */
void interrupt_open(unsigned number);
void interrupt_close(unsigned number);

#endif
