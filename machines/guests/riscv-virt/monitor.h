/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A prompt on the UART, for people who want to look around. */
#ifndef MONITOR_H
#define MONITOR_H

/* Reads and obeys commands until one ends the machine; `report` is what the command of that name calls. */
void monitor_run(unsigned (*report)(void)) __attribute__((noreturn));

#endif
