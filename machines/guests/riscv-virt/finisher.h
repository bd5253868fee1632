/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The test finisher: ends the machine (SiFive test device, as Linux' syscon-poweroff and syscon-reboot drive it). */
#ifndef FINISHER_H
#define FINISHER_H

/* None of them returns. */
void finisher_power_off(void) __attribute__((noreturn));
void finisher_reset(void) __attribute__((noreturn));
/* Ends with an exit code, 1 to 65535. */
void finisher_fail(unsigned code) __attribute__((noreturn));

#endif
