/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "fwcfg.h"

#include <stdbool.h>

#include "board.h"
#include "mmio.h"
#include "timer.h"

#define DATA 0 /* a string of bytes */
#define SELECTOR 8 /* 16 bits, big-endian */
#define DMA_ADDRESS 16 /* 64 bits, big-endian; reads as DMA_SIGNATURE */

#define KEY_SIGNATURE 0x0000
#define KEY_FEATURES 0x0001
#define KEY_DIRECTORY 0x0019

#define FEATURE_DMA 2
#define SIGNATURE 0x554d4551 /* "QEMU", as four bytes in memory order */
#define DMA_SIGNATURE 0x51454d5520434647 /* "QEMU CFG" */

#define DMA_ERROR 1
#define DMA_READ 2
#define DMA_SELECT 8

#define MAX_FILES 64

/* All big-endian. */
struct dma_access {
    uint32_t control;
    uint32_t length;
    uint64_t address;
};

struct file {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[56];
};

static struct {
    uint32_t count;
    struct file files[MAX_FILES];
} directory __attribute__((aligned(8)));

static uint16_t swap16(uint16_t value) { return (uint16_t)(value << 8 | value >> 8); }

static uint32_t swap32(uint32_t value)
{
    return (uint32_t)swap16((uint16_t)value) << 16 | swap16((uint16_t)(value >> 16));
}

static uint64_t swap64(uint64_t value)
{
    return (uint64_t)swap32((uint32_t)value) << 32 | swap32((uint32_t)(value >> 32));
}

static uint32_t read_word(uint16_t key)
{
    uint32_t word = 0;

    mmio_write16(board.fwcfg.base + SELECTOR, swap16(key));
    for (unsigned i = 0; i < 4; i++)
        word |= (uint32_t)mmio_read8(board.fwcfg.base + DATA) << 8 * i;
    return word;
}

/* Reads the first bytes of an item by DMA; false on an error, or if the device does not answer. */
static bool dma_read(uint16_t key, void *to, uint32_t length)
{
    static volatile struct dma_access access;

    access.control = swap32((uint32_t)key << 16 | DMA_SELECT | DMA_READ);
    access.length = swap32(length);
    access.address = swap64((uint64_t)to);
    mmio_fence();
    mmio_write64(board.fwcfg.base + DMA_ADDRESS, swap64((uint64_t)&access));
    struct deadline deadline = deadline_in(100000);
    while (swap32(access.control) & ~DMA_ERROR)
        if (deadline_passed(&deadline))
            return false;
    mmio_fence();
    return access.control == 0;
}

enum verdict check_fwcfg(struct line *line)
{
    if (!board.fwcfg.size) {
        line_append(line, "no fw_cfg in the device tree");
        return SKIPPED;
    }
    uint32_t signature = read_word(KEY_SIGNATURE), features = read_word(KEY_FEATURES);
    char text[5] = { 0 };

    for (unsigned i = 0; i < 4; i++) {
        char byte = (char)(signature >> 8 * i);
        text[i] = byte >= ' ' && byte <= '~' ? byte : '.';
    }
    line_append(line, "signature \"%s\", features %x", text, features);
    return signature == SIGNATURE ? PASSED : FAILED;
}

enum verdict check_fwcfg_dma(struct line *line)
{
    if (!board.fwcfg.size || !(read_word(KEY_FEATURES) & FEATURE_DMA)) {
        line_append(line, "no fw_cfg with DMA");
        return SKIPPED;
    }
    uint64_t signature = swap64(mmio_read64(board.fwcfg.base + DMA_ADDRESS));
    if (signature != DMA_SIGNATURE) {
        line_append(line, "the DMA register reads %lx", signature);
        return FAILED;
    }
    directory.count = ~0u;
    if (!dma_read(KEY_DIRECTORY, &directory, sizeof directory)) {
        line_append(line, "DMA of the directory failed");
        return FAILED;
    }
    uint32_t count = swap32(directory.count);
    if (count > 0x3ff0) {
        line_append(line, "the directory claims %u files", count);
        return FAILED;
    }
    line_append(line, "the directory lists %u files", count);
    for (uint32_t i = 0; i < count && i < MAX_FILES; i++) {
        const struct file *file = &directory.files[i];
        bool ends = false;

        for (unsigned at = 0; at < sizeof file->name; at++)
            ends = ends || !file->name[at];
        if (!ends || !file->name[0] || swap16(file->key) < 0x20) {
            line_append(line, ", number %u is broken", i);
            return FAILED;
        }
        if (i < 2)
            line_append(line, ", \"%s\" of %u bytes", file->name, swap32(file->size));
    }
    return PASSED;
}
