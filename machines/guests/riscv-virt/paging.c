/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The address space of the test: the gigabyte that this image is in, at its own address (a superpage), and a window
 * at WINDOW with 4 KiB pages and superpages of 2 MiB. Nothing else is mapped. Page faults go to S-mode.
 */
#include "paging.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
#include "mode.h"
#include "probe.h"

#define PTE_V (1UL << 0)
#define PTE_R (1UL << 1)
#define PTE_W (1UL << 2)
#define PTE_X (1UL << 3)
#define PTE_U (1UL << 4)
#define PTE_A (1UL << 6)
#define PTE_D (1UL << 7)
#define PTE_AD (PTE_A | PTE_D)

#define SATP_SV39 (8UL << 60)
#define GIGAPAGE (1UL << 30)
#define MEGAPAGE (1UL << 21)
#define PAGE 4096UL
#define ENTRIES 512

#define WINDOW (64 * GIGAPAGE)
/* Bits 63 to 39 must equal bit 38; these do not. */
#define NOT_CANONICAL (1UL << 39)

/* What is in the first 2 MiB of the window, a page each. */
enum window_page { READ_WRITE, READ_ONLY, READ_EXECUTE, NO_EXECUTE, INVALID, USER_PAGE, EXECUTE_ONLY, RESERVED, FRESH };

#define AT(page, offset) (WINDOW + (page) * PAGE + (offset))

/* And in the 2 MiB that follow it. */
#define SUPERPAGE (WINDOW + MEGAPAGE)
#define MISALIGNED_SUPERPAGE (WINDOW + 2 * MEGAPAGE)

static uint64_t root[ENTRIES] __attribute__((aligned(4096)));
static uint64_t middle[ENTRIES] __attribute__((aligned(4096)));
static uint64_t leaves[ENTRIES] __attribute__((aligned(4096)));
static volatile uint64_t frame[2][ENTRIES] __attribute__((aligned(4096)));

/* What the image begins with: start.S says "csrw mie, zero". The image is 2 MiB aligned. */
#define FIRST_INSTRUCTION 0x30401073
#define FIRST 0x1111222233334444
#define SECOND 0x5555666677778888

static uint64_t entry(uint64_t physical, uint64_t bits) { return physical >> 12 << 10 | bits | PTE_V; }

static void build_tables(void)
{
    uint64_t image = (uint64_t)__image_start, data = (uint64_t)frame[0];

    frame[0][0] = FIRST;
    frame[0][1] = 0;
    frame[0][2] = 0x80824529; /* c.li a0, 10 and c.ret */
    frame[1][0] = SECOND;

    root[image / GIGAPAGE] = entry(image & -GIGAPAGE, PTE_R | PTE_W | PTE_X | PTE_AD);
    root[WINDOW / GIGAPAGE] = entry((uint64_t)middle, 0);
    middle[0] = entry((uint64_t)leaves, 0);
    middle[1] = entry(image & -MEGAPAGE, PTE_R | PTE_AD);
    middle[2] = entry((image & -MEGAPAGE) + PAGE, PTE_R | PTE_AD);
    leaves[READ_WRITE] = entry(data, PTE_R | PTE_W | PTE_AD);
    leaves[READ_ONLY] = entry(data, PTE_R | PTE_AD);
    leaves[READ_EXECUTE] = entry(data, PTE_R | PTE_X | PTE_AD);
    leaves[NO_EXECUTE] = entry(data, PTE_R | PTE_W | PTE_AD);
    leaves[INVALID] = entry(data, PTE_R | PTE_W | PTE_AD) & ~PTE_V;
    leaves[USER_PAGE] = entry(data, PTE_R | PTE_W | PTE_U | PTE_AD);
    leaves[EXECUTE_ONLY] = entry(data, PTE_X | PTE_AD);
    leaves[RESERVED] = entry(data, PTE_W | PTE_AD);
    leaves[FRESH] = entry(data, PTE_R | PTE_W);
    __asm__ volatile("fence.i" : : : "memory");
}

/* One access in S-mode: what is tried, with which bits of sstatus, and what must come of it. */
struct step {
    const char *what;
    attempt attempt;
    uint64_t address;
    uint64_t cause;  /* 0: no trap */
    uint64_t status; /* SUM, MXR or 0 */
    uint64_t value;  /* to store, or that the attempt must give */
};

struct run {
    const struct step *steps;
    unsigned count;
    struct outcome outcomes[16];
};

static struct run run;

static uint64_t supervisor_steps(uint64_t unused)
{
    csr_write(stvec, (uint64_t)supervisor_trap_entry);
    for (unsigned i = 0; i < run.count; i++) {
        const struct step *step = &run.steps[i];

        csr_set(sstatus, step->status);
        run.outcomes[i] = probe(step->attempt, step->address, step->value);
        csr_clear(sstatus, step->status);
    }
    return unused;
}

static void flush(void) { __asm__ volatile("sfence.vma" : : : "memory"); }

/* Calls the function in S-mode on the tables. */
static bool in_address_space(struct line *line, uint64_t (*function)(uint64_t))
{
    uint64_t satp = SATP_SV39 | (uint64_t)root >> 12;

    csr_write(medeleg, IRQ_BIT(CAUSE_FETCH_PAGE) | IRQ_BIT(CAUSE_LOAD_PAGE) | IRQ_BIT(CAUSE_STORE_PAGE));
    csr_write(satp, satp);
    flush();
    bool taken = csr_read(satp) == satp;
    struct excursion excursion = { 0 };
    if (taken)
        excursion = mode_call(SUPERVISOR, function, 0);
    csr_write(satp, 0);
    flush();
    csr_write(medeleg, 0);
    if (!taken)
        line_append(line, "satp does not take Sv39");
    else if (!excursion.finished)
        line_append(line, "S-mode ended with cause %lx", excursion.cause);
    return excursion.finished;
}

/* Runs the steps in S-mode and compares; on a failure tells the first. */
static bool steps_hold(struct line *line, const struct step *steps, unsigned count)
{
    run.steps = steps;
    run.count = count;
    if (!in_address_space(line, supervisor_steps))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        const struct outcome *outcome = &run.outcomes[i];
        bool good = outcome->trapped == (step->cause != 0) && outcome->cause == step->cause;

        if (step->cause)
            good = good && outcome->trap_value == step->address;
        else if (step->attempt != try_store64)
            good = good && outcome->value == step->value;
        if (good)
            continue;
        if (outcome->trapped)
            line_append(line, "%s: scause %lu, stval %lx", step->what, outcome->cause, outcome->trap_value);
        else
            line_append(line, "%s: no fault, gave %lx", step->what, outcome->value);
        return false;
    }
    return true;
}

#define COUNT(steps) (sizeof(steps) / sizeof *(steps))

static uint64_t supervisor_remaps(uint64_t unused)
{
    struct outcome before = probe(try_load64, AT(READ_WRITE, 0), 0);

    leaves[READ_WRITE] = entry((uint64_t)frame[1], PTE_R | PTE_W | PTE_AD);
    flush();
    struct outcome after = probe(try_load64, AT(READ_WRITE, 0), 0);
    run.outcomes[0] = before;
    run.outcomes[1] = after;
    return unused;
}

enum verdict check_translation(struct line *line)
{
    static const struct step steps[] = {
        { "4 KiB page", try_load64, AT(READ_WRITE, 0), 0, 0, FIRST },
        { "the same frame in another page", try_load64, AT(READ_ONLY, 0), 0, 0, FIRST },
        { "2 MiB page", try_load32, SUPERPAGE, 0, 0, FIRST_INSTRUCTION },
        { "1 GiB page", try_load64, (uint64_t)frame[1], 0, 0, SECOND },
        { "store", try_store64, AT(READ_WRITE, 8), 0, 0, SECOND },
        { "its trace in another page", try_load64, AT(READ_ONLY, 8), 0, 0, SECOND },
        { "code", try_jump, AT(READ_EXECUTE, 16), 0, 0, 10 },
    };

    build_tables();
    if (!steps_hold(line, steps, COUNT(steps)))
        return FAILED;
    if (frame[0][1] != SECOND) {
        line_append(line, "the store reached the wrong frame");
        return FAILED;
    }
    if (!in_address_space(line, supervisor_remaps))
        return FAILED;
    if (run.outcomes[0].value != FIRST || run.outcomes[1].value != SECOND) {
        line_append(line, "remapped: %lx before, %lx after SFENCE.VMA", run.outcomes[0].value, run.outcomes[1].value);
        return FAILED;
    }
    line_append(line, "loads, stores and code through pages of 4 KiB, 2 MiB and 1 GiB, one remapped");
    return PASSED;
}

enum verdict check_page_rights(struct line *line)
{
    static const struct step steps[] = {
        { "store to a read-only page", try_store64, AT(READ_ONLY, 24), CAUSE_STORE_PAGE, 0, 1 },
        { "store to a read-only superpage", try_store64, SUPERPAGE + 8, CAUSE_STORE_PAGE, 0, 1 },
        { "fetch from a page without X", try_jump, AT(NO_EXECUTE, 16), CAUSE_FETCH_PAGE, 0, 0 },
        { "load from an invalid page", try_load64, AT(INVALID, 0), CAUSE_LOAD_PAGE, 0, 0 },
        { "load from a user page", try_load64, AT(USER_PAGE, 0), CAUSE_LOAD_PAGE, 0, 0 },
        { "the same with SUM", try_load64, AT(USER_PAGE, 0), 0, SSTATUS_SUM, FIRST },
        { "fetch from a user page with SUM", try_jump, AT(USER_PAGE, 16), CAUSE_FETCH_PAGE, SSTATUS_SUM, 0 },
        { "load from an execute-only page", try_load64, AT(EXECUTE_ONLY, 0), CAUSE_LOAD_PAGE, 0, 0 },
        { "the same with MXR", try_load64, AT(EXECUTE_ONLY, 0), 0, SSTATUS_MXR, FIRST },
        { "load through W without R", try_load64, AT(RESERVED, 0), CAUSE_LOAD_PAGE, 0, 0 },
        { "load from a misaligned superpage", try_load64, MISALIGNED_SUPERPAGE, CAUSE_LOAD_PAGE, 0, 0 },
        { "load from an address that is not canonical", try_load64, NOT_CANONICAL, CAUSE_LOAD_PAGE, 0, 0 },
        { "load from an unmapped gigabyte", try_load8, WINDOW + GIGAPAGE, CAUSE_LOAD_PAGE, 0, 0 },
    };
    unsigned faults = 0;

    build_tables();
    frame[0][3] = 0;
    if (!steps_hold(line, steps, COUNT(steps)))
        return FAILED;
    if (frame[0][3] != 0) {
        line_append(line, "the read-only page changed");
        return FAILED;
    }
    for (unsigned i = 0; i < COUNT(steps); i++)
        faults += steps[i].cause != 0;
    line_append(line, "%u accesses refused in S-mode, each with its scause (12, 13, 15) and stval; SUM and MXR work",
                faults);
    return PASSED;
}

enum verdict check_accessed_dirty(struct line *line)
{
    static const struct step load[] = { { "load", try_load64, AT(FRESH, 0), 0, 0, FIRST } };
    static const struct step store[] = { { "store", try_store64, AT(FRESH, 8), 0, 0, 7 } };
    static const struct step load_fault[] = { { "load", try_load64, AT(FRESH, 0), CAUSE_LOAD_PAGE, 0, 0 } };
    static const struct step store_fault[] = { { "store", try_store64, AT(FRESH, 8), CAUSE_STORE_PAGE, 0, 7 } };

    build_tables();
    run.steps = load;
    run.count = 1;
    if (!in_address_space(line, supervisor_steps))
        return FAILED;
    /* A hart sets the bits, or faults so that software does (privileged ISA 4.3.1): both are right, but not a mix. */
    if (run.outcomes[0].trapped) {
        if (!steps_hold(line, load_fault, 1))
            return FAILED;
        leaves[FRESH] |= PTE_A;
        if (!steps_hold(line, load, 1) || !steps_hold(line, store_fault, 1))
            return FAILED;
        leaves[FRESH] |= PTE_D;
        if (!steps_hold(line, store, 1))
            return FAILED;
        line_append(line, "the hart faults while A or D is clear, software sets them");
        return PASSED;
    }
    uint64_t after_load = *(volatile uint64_t *)&leaves[FRESH] & PTE_AD;
    if (!steps_hold(line, store, 1))
        return FAILED;
    uint64_t after_store = *(volatile uint64_t *)&leaves[FRESH] & PTE_AD;
    line_append(line, "the hart set %s after a load, %s after a store", after_load == PTE_A ? "A" : "the wrong bits",
                after_store == PTE_AD ? "A and D" : "the wrong bits");
    return after_load == PTE_A && after_store == PTE_AD && frame[0][1] == 7 ? PASSED : FAILED;
}
