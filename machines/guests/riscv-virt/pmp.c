/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "pmp.h"

#include <stdbool.h>

#include "csr.h"
#include "mode.h"
#include "probe.h"

#define PMP_R 1UL
#define PMP_W 2UL
#define PMP_X 4UL
#define PMP_NAPOT (3UL << 3)
#define PMP_ALL (PMP_R | PMP_W | PMP_X | PMP_NAPOT)

static volatile uint64_t page[512] __attribute__((aligned(4096)));

/* What U-mode saw, in the order of its attempts. */
static struct outcome outcomes[4];

static bool absent; /* the hart has no PMP */

void pmp_open(void)
{
    /* Entry 0 covers all addresses; all ones in a NAPOT address mean the largest range. */
    absent = probe(try_open_pmp, ~0UL, PMP_ALL).trapped;
}

/* Entry 0 is the page with these rights, entry 1 the rest; the first that matches decides. */
static void protect_page(uint64_t rights)
{
    csr_write(pmpcfg0, 0);
    csr_write(pmpaddr0, (uint64_t)page >> 2 | (sizeof page / 8 - 1));
    csr_write(pmpaddr1, ~0UL);
    csr_write(pmpcfg0, rights | PMP_NAPOT | PMP_ALL << 8);
    __asm__ volatile("sfence.vma" : : : "memory"); /* rights may be cached with translations (3.7.2) */
}

static void unprotect(void)
{
    pmp_open();
    csr_write(pmpaddr1, 0);
    __asm__ volatile("sfence.vma" : : : "memory");
}

struct system_try {
    const char *what;
    attempt attempt;
    uint64_t cause;
};

static const struct system_try system_tries[] = {
    { "ECALL", try_ecall, CAUSE_ECALL_USER },
    { "a read of mstatus", try_read_mstatus, CAUSE_ILLEGAL_INSTRUCTION },
};

static uint64_t user_system(uint64_t unused)
{
    for (unsigned i = 0; i < 2; i++)
        outcomes[i] = probe(system_tries[i].attempt, unused, 0);
    return 0x55;
}

enum verdict check_user_mode(struct line *line)
{
    struct excursion excursion = mode_call(USER, user_system, 0);

    if (!excursion.finished || excursion.value != 0x55) {
        line_append(line, "U-mode ended with cause %lx", excursion.cause);
        return FAILED;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (outcomes[i].trapped && outcomes[i].cause == system_tries[i].cause)
            continue;
        line_append(line, "%s: trapped %u, cause %lu", system_tries[i].what, outcomes[i].trapped,
                    outcomes[i].cause);
        return FAILED;
    }
    line_append(line, "entered and left; ECALL is cause 8, a read of mstatus cause 2");
    return PASSED;
}

static uint64_t user_accesses(uint64_t address)
{
    outcomes[0] = probe(try_load64, address, 0);
    outcomes[1] = probe(try_store64, address + 8, 0xbad);
    outcomes[2] = probe(try_jump, address + 16, 0);
    outcomes[3] = probe(try_load64, address + sizeof page, 0);
    return 0x55;
}

/* Whether U-mode saw these causes (0: no trap) at the page's first words, and nothing at the page behind it. */
static bool user_sees(struct line *line, uint64_t load, uint64_t store, uint64_t fetch)
{
    const uint64_t expected[4] = { load, store, fetch, 0 };
    struct excursion excursion = mode_call(USER, user_accesses, (uint64_t)page);

    if (!excursion.finished || excursion.value != 0x55) {
        line_append(line, "U-mode ended with cause %lx", excursion.cause);
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        const struct outcome *outcome = &outcomes[i];
        uint64_t address = (uint64_t)page + 8 * i;

        if (outcome->trapped == (expected[i] != 0) && outcome->cause == expected[i] &&
            (!expected[i] || outcome->trap_value == address))
            continue;
        line_append(line, "access %u: trapped %u, cause %lu, value %lx", i, outcome->trapped, outcome->cause,
                    outcome->trap_value);
        return false;
    }
    return true;
}

enum verdict check_pmp(struct line *line)
{
    bool good;

    if (absent) {
        line_append(line, "the hart has none");
        return SKIPPED;
    }
    page[0] = 0x1234;
    page[1] = 0;
    page[2] = 0x8082; /* c.ret */
    __asm__ volatile("fence.i" : : : "memory");

    protect_page(0);
    good = user_sees(line, CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, CAUSE_FETCH_ACCESS);
    /* An entry that is not locked does not bind M-mode. */
    if (good && (probe(try_load64, (uint64_t)page, 0).value != 0x1234 || page[1] != 0)) {
        line_append(line, "M-mode cannot read what it denied to U-mode");
        good = false;
    }
    if (good) {
        protect_page(PMP_R);
        good = user_sees(line, 0, CAUSE_STORE_ACCESS, CAUSE_FETCH_ACCESS) && outcomes[0].value == 0x1234 &&
               page[1] == 0;
    }
    if (good) {
        protect_page(PMP_R | PMP_W | PMP_X);
        good = user_sees(line, 0, 0, 0) && page[1] == 0xbad;
    }
    unprotect();
    if (!good) {
        line_append(line, " (denied page at 0x%lx)", (uint64_t)page);
        return FAILED;
    }
    line_append(line, "denies U-mode a page (causes 5, 7, 1), lets it read, then all; M-mode is not bound");
    return PASSED;
}
