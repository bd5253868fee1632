/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "ram.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
#include "probe.h"
#include "timer.h"

#define EVEN_SPOTS 64
#define MAX_SPOTS 128
#define BLOCK_SIZE (128u << 10)

static uint64_t spots[MAX_SPOTS];
static uint64_t saved[MAX_SPOTS];

/* Whether [address, address + size) touches this image or the device tree. */
static bool in_use(uint64_t address, uint64_t size)
{
    uint64_t start = (uint64_t)__image_start, end = (uint64_t)__image_end;

    if (address < end && address + size > start)
        return true;
    return address < board.tree.base + board.tree.size && address + size > board.tree.base;
}

/* A value that differs between any two spots in more than one bit. */
static uint64_t pattern(uint64_t address, uint64_t round)
{
    uint64_t mixed = (address + 1) * 0x9e3779b97f4a7c15;

    return round ? ~mixed : mixed;
}

static unsigned add_spot(unsigned count, uint64_t address)
{
    for (unsigned i = 0; i < count; i++)
        if (spots[i] == address)
            return count;
    if (count < MAX_SPOTS && !in_use(address, 8))
        spots[count++] = address;
    return count;
}

/* Evenly over the bank, then a word for each address line, then the last word. */
static unsigned choose_spots(void)
{
    unsigned count = 0;

    for (uint64_t i = 0; i < EVEN_SPOTS; i++)
        count = add_spot(count, board.ram.base + (board.ram.size / EVEN_SPOTS * i & ~7UL));
    for (uint64_t line = 8; line < board.ram.size && line; line <<= 1)
        count = add_spot(count, board.ram.base + line);
    return add_spot(count, board.ram.base + board.ram.size - 8);
}

enum verdict check_ram(struct line *line)
{
    if (!board.ram.size) {
        line_append(line, "the device tree names no bank that this image is in");
        return FAILED;
    }
    unsigned count = choose_spots(), wrong = 0;
    uint64_t first_wrong = 0;

    for (unsigned i = 0; i < count; i++) {
        struct outcome outcome = probe(try_load64, spots[i], 0);

        if (outcome.trapped) {
            line_append(line, "a load from 0x%lx gives cause %lu", spots[i], outcome.cause);
            return FAILED;
        }
        saved[i] = outcome.value;
    }
    for (uint64_t round = 0; round < 2; round++) {
        /* All are written before any is read: two spots that are one word give themselves away. */
        for (unsigned i = 0; i < count; i++)
            *(volatile uint64_t *)spots[i] = pattern(spots[i], round);
        for (unsigned i = 0; i < count; i++) {
            if (*(volatile uint64_t *)spots[i] == pattern(spots[i], round))
                continue;
            if (!wrong++)
                first_wrong = spots[i];
        }
    }
    for (unsigned i = 0; i < count; i++)
        *(volatile uint64_t *)spots[i] = saved[i];
    if (wrong) {
        line_append(line, "%u wrong reads at %u places, the first at 0x%lx", wrong, count, first_wrong);
        return FAILED;
    }
    line_append(line, "%lu MiB at 0x%lx, patterns hold at %u places up to the last word", board.ram.size >> 20,
                board.ram.base, count);
    return PASSED;
}

enum verdict check_ram_end(struct line *line)
{
    uint64_t end = board.ram.base + board.ram.size;

    struct outcome last = probe(try_load64, end - 8, 0);
    struct outcome load = probe(try_load64, end, 0);
    struct outcome store = probe(try_store64, end, 0);
    struct outcome jump = probe(try_jump, end, 0);
    bool good = !last.trapped && load.trapped && load.cause == CAUSE_LOAD_ACCESS && load.trap_value == end &&
                store.trapped && store.cause == CAUSE_STORE_ACCESS && store.trap_value == end && jump.trapped &&
                jump.cause == CAUSE_FETCH_ACCESS;

    line_append(line, "behind 0x%lx a load gives cause %lu, a store %lu, a fetch %lu", end, load.cause, store.cause,
                jump.cause);
    return good ? PASSED : FAILED;
}

enum verdict check_ram_speed(struct line *line)
{
    uint64_t block = ((uint64_t)__image_end + 0xfffff) & ~0xfffffUL, end = board.ram.base + board.ram.size;

    while (in_use(block, BLOCK_SIZE))
        block += 1u << 20;
    if (block + BLOCK_SIZE > end) {
        line_append(line, "no free block of %u KiB", BLOCK_SIZE >> 10);
        return FAILED;
    }
    if (probe(try_load64, block + BLOCK_SIZE - 8, 0).trapped) {
        line_append(line, "no RAM at 0x%lx", block);
        return FAILED;
    }
    volatile uint64_t *words = (volatile uint64_t *)block;
    uint64_t start = timer_now();
    for (uint64_t i = 0; i < BLOCK_SIZE / 8; i++)
        words[i] = i * 0x0101010101010101;
    uint64_t middle = timer_now();
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < BLOCK_SIZE / 8; i++)
        wrong += words[i] != i * 0x0101010101010101;
    uint64_t stop = timer_now();

    line_append(line, "%u KiB, %lu us to write a MiB, %lu us to compare one", BLOCK_SIZE >> 10,
                timer_microseconds((middle - start) * (1048576 / BLOCK_SIZE)),
                timer_microseconds((stop - middle) * (1048576 / BLOCK_SIZE)));
    if (wrong)
        line_append(line, "; %lu words are wrong", wrong);
    return wrong ? FAILED : PASSED;
}
