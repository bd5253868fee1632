/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "harts.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
#include "interrupt.h"
#include "swi.h"
#include "timer.h"

#define COUNTS 10000
#define ARRIVAL_US 1000000
#define COUNTING_US 3000000

/* Each in a cache line of its own: the counters are what the harts fight for. */
struct shared {
    uint64_t value __attribute__((aligned(64)));
};

static struct shared arrived;  /* a bit a hart */
static struct shared finished; /* a bit a hart */
static struct shared start;    /* the round that may begin */
static struct shared round;    /* the round that harts are called to */
static struct shared added;    /* counted by AMOADD */
static struct shared stored;   /* counted by LR and SC */

static uint64_t load(const struct shared *shared) { return __atomic_load_n(&shared->value, __ATOMIC_ACQUIRE); }
static void store(struct shared *shared, uint64_t value) { __atomic_store_n(&shared->value, value, __ATOMIC_RELEASE); }
static void set_bit(struct shared *shared, uint64_t bit) { __atomic_fetch_or(&shared->value, bit, __ATOMIC_ACQ_REL); }

static void count(void)
{
    for (unsigned i = 0; i < COUNTS; i++) {
        uint64_t failed, value;

        __asm__ volatile("amoadd.d zero, %1, (%0)" : : "r"(&added.value), "r"(1UL) : "memory");
        /* The loop fits the rules that make LR/SC succeed at last (unprivileged ISA, section "Eventual Success"). */
        __asm__ volatile("1: lr.d %1, (%2)\n\t"
                         "addi %1, %1, 1\n\t"
                         "sc.d %0, %1, (%2)\n\t"
                         "bnez %0, 1b"
                         : "=&r"(failed), "=&r"(value)
                         : "r"(&stored.value)
                         : "memory");
    }
}

void hart_called(uint64_t hart)
{
    swi_drop((uint32_t)hart);
    interrupt_settles(IRQ_MACHINE_SOFTWARE, false); /* or one call could be heard twice */
    uint64_t called_to = load(&round);
    struct deadline deadline = deadline_in(ARRIVAL_US);

    set_bit(&arrived, 1UL << hart);
    while (load(&start) != called_to)
        if (deadline_passed(&deadline))
            return;
    count();
    set_bit(&finished, 1UL << hart);
}

static bool wait_for(const struct shared *shared, uint64_t bits, uint64_t microseconds)
{
    struct deadline deadline = deadline_in(microseconds);

    while ((load(shared) & bits) != bits)
        if (deadline_passed(&deadline))
            return false;
    return true;
}

enum verdict check_harts(struct line *line)
{
    uint64_t others = 0;
    unsigned called = 0;

    store(&arrived, 0);
    store(&finished, 0);
    store(&added, 0);
    store(&stored, 0);
    store(&round, load(&round) + 1);
    uint64_t begin = timer_now();
    for (unsigned i = 0; i < board.usable_harts; i++) {
        if (board.harts[i] == 0)
            continue;
        others |= 1UL << board.harts[i];
        called++;
        swi_raise(board.harts[i]);
    }
    if (!wait_for(&arrived, others, ARRIVAL_US)) {
        line_append(line, "called harts %lx, of which %lx came", others, load(&arrived));
        store(&round, load(&round) + 1);
        return FAILED;
    }
    uint64_t up = timer_now();
    store(&start, load(&round));
    count();
    if (!wait_for(&finished, others, COUNTING_US)) {
        line_append(line, "harts %lx counted, %lx ended", others, load(&finished));
        return FAILED;
    }
    uint64_t end = timer_now(), expected = (uint64_t)(called + 1) * COUNTS;

    line_append(line, "%u up after %lu us, together %lu by AMOADD and %lu by LR/SC in %lu us", called + 1,
                timer_microseconds(up - begin), load(&added), load(&stored), timer_microseconds(end - up));
    if (board.hart_count > called + 1)
        line_append(line, " (%u more were left parked)", board.hart_count - called - 1);
    return load(&added) == expected && load(&stored) == expected ? PASSED : FAILED;
}
