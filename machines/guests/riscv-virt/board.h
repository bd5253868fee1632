/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the device tree says about the machine. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define MAX_FLASH_BANKS 4

struct range {
    uint64_t base;
    uint64_t size; /* bytes; 0 if the board has no such device */
};

struct board {
    bool tree_ok;              /* the tree was read to its end */
    struct range tree;         /* where the blob is */
    const char *model;
    const char *bootargs;      /* never null */
    unsigned hart_count;       /* all that the tree lists as usable */
    uint32_t harts[MAX_HARTS]; /* the ids of the first hart_count of them that have a stack */
    unsigned usable_harts;     /* entries of harts */
    struct range ram;          /* the bank that this image runs from */
    uint32_t timebase;         /* ticks of mtime in a second */
    struct range uart;
    uint32_t uart_irq;
    struct range plic;
    uint32_t plic_sources;     /* the highest interrupt number */
    uint32_t plic_context;     /* hart 0's M-mode context */
    uint64_t mswi;             /* 4 bytes a hart; 0 if absent, as the three below */
    uint64_t mtime;
    uint64_t mtimecmp;         /* 8 bytes a hart */
    uint64_t sswi;             /* 4 bytes a hart */
    uint64_t finisher;
    struct range rtc;
    uint32_t rtc_irq;
    struct range fwcfg;
    uint32_t flash_bank_width; /* bytes */
    unsigned flash_banks;
    struct range flash[MAX_FLASH_BANKS];
};

extern struct board board;

/* Reads the tree at `address`. What it does not say has the place where this board is known to have it. */
void board_read(uint64_t address);

/* The image in memory, stacks included; from the linker script. */
extern char __image_start[], __image_end[];

#endif
