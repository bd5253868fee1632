/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sizes that assembly, C and the linker script share. */
#ifndef LAYOUT_H
#define LAYOUT_H

/* Harts with an id of this or above stay parked; virt.ld reserves one stack block for each below. */
#define MAX_HARTS 16

/* A hart's stack block: its lower TRAP_STACK_SIZE bytes serve its trap handler, the rest is its stack. */
#define STACK_SHIFT 12
#define TRAP_STACK_SIZE 1536

/* Bytes of a trap frame: the interrupted pc in word 0, then x1 to x31 in the word of their number. */
#define FRAME_SIZE 256

#endif
