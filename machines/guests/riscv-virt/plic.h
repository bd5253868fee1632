/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The platform-level interrupt controller, hart 0's M-mode context (RISC-V PLIC specification 1.0). */
#ifndef PLIC_H
#define PLIC_H

#include <stdbool.h>
#include <stdint.h>

#include "report.h"

/* Sources with a number of this or above are not served. */
#define PLIC_MAX_SOURCES 64

/* All sources off, threshold 0. */
void plic_init(void);

/* Priority 1, enabled, and `serve` is called between its claim and its completion; null turns the source off. */
void plic_attach(uint32_t source, void (*serve)(void));

bool plic_pending(uint32_t source);
void plic_set_threshold(uint32_t threshold);

/* The last source claimed since plic_forget(), 0 if none, and how many were. */
uint32_t plic_last_claim(void);
unsigned plic_claims(void);
void plic_forget(void);

/* Claims, serves and completes one interrupt; the machine trap handler calls it. */
void plic_interrupt(void);

/* The UART's transmit interrupt on its way through the PLIC. */
enum verdict check_uart_interrupt(struct line *line);

#endif
