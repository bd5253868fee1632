/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The functions that a freestanding GCC may call for copies and initialisers (GCC manual, "Standards"). */
#include <stddef.h>
#include <stdint.h>

void *memset(void *start, int byte, size_t length)
{
    uint8_t *at = start;

    while (length--)
        *at++ = (uint8_t)byte;
    return start;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    uint8_t *at = to;
    const uint8_t *source = from;

    while (length--)
        *at++ = *source++;
    return to;
}
