/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Software interrupts (RISC-V ACLINT specification, chapters 3 and 4). */
#ifndef SWI_H
#define SWI_H

#include <stdint.h>

#include "report.h"

/* Raises or drops the machine software interrupt of a hart. */
void swi_raise(uint32_t hart);
void swi_drop(uint32_t hart);

/* The trap handlers call them. */
void swi_machine_interrupt(void);
void swi_supervisor_interrupt(void);

enum verdict check_machine_swi(struct line *line);
enum verdict check_supervisor_swi(struct line *line);

#endif
