/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* 16550 UART (National Semiconductor PC16550D datasheet). */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stdint.h>

/* 8N1, FIFOs on, no interrupt; the speed is left alone. */
void uart_init(void);

/* Waits, a bounded time, until a byte can be sent, and sends it. */
void uart_put(char byte);

/* Sends `text` a byte for each transmit interrupt, from now on until its end. */
void uart_send_by_interrupt(const char *text);

/* Transmit interrupts taken since uart_send_by_interrupt(), and whether the text is out. */
unsigned uart_transmit_interrupts(void);
bool uart_sent(void);

/* Raises the transmit interrupt's enable bit alone, or drops it. */
void uart_enable_transmit_interrupt(bool enable);

/* Received bytes go into a ring from now on. */
void uart_enable_receive_interrupt(void);

/* The next received byte, or -1. */
int uart_receive(void);

/* Serves all that the UART asks for; the PLIC calls it. */
void uart_interrupt(void);

#endif
