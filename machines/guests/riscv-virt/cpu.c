/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "cpu.h"

#include "csr.h"
#include "probe.h"

void cpu_describe(struct line *line)
{
    uint64_t misa = csr_read(misa);

    line_append(line, "rv%u", misa >> 62 == 2 ? 64 : 32);
    for (unsigned letter = 0; letter < 26; letter++)
        if (misa >> letter & 1)
            line_append(line, "%c", 'a' + (int)letter);
}

/* One instruction with two operands, whatever the compiler thinks of it. */
#define BINARY(name, instruction)                                                          \
    static uint64_t name(uint64_t a, uint64_t b)                                           \
    {                                                                                      \
        uint64_t result;                                                                   \
        __asm__ volatile(instruction " %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));       \
        return result;                                                                     \
    }

/* An atomic of that name: gives the old value. */
#define ATOMIC(name, instruction)                                                                           \
    static uint64_t name(uint64_t address, uint64_t operand)                                                \
    {                                                                                                       \
        uint64_t old;                                                                                       \
        __asm__ volatile(instruction " %0, %2, (%1)" : "=&r"(old) : "r"(address), "r"(operand) : "memory"); \
        return old;                                                                                         \
    }

BINARY(do_div, "div")
BINARY(do_divu, "divu")
BINARY(do_rem, "rem")
BINARY(do_remu, "remu")
BINARY(do_divw, "divw")
BINARY(do_remuw, "remuw")
BINARY(do_mulh, "mulh")
BINARY(do_mulhu, "mulhu")
BINARY(do_mulhsu, "mulhsu")
BINARY(do_mulw, "mulw")
BINARY(do_addw, "addw")
BINARY(do_sraw, "sraw")
BINARY(do_sllw, "sllw")
BINARY(do_slt, "slt")
BINARY(do_sltu, "sltu")

#define LOWEST (1UL << 63)
#define MINUS_ONE (~0UL)

struct arithmetic {
    const char *name;
    uint64_t (*instruction)(uint64_t, uint64_t);
    uint64_t first, second, expected;
};

/* The corners: division by zero and overflow (unprivileged ISA, M extension, table 1), and words sign-extended. */
static const struct arithmetic arithmetic[] = {
    { "div by zero", do_div, 7, 0, MINUS_ONE },
    { "divu by zero", do_divu, 7, 0, MINUS_ONE },
    { "rem by zero", do_rem, 7, 0, 7 },
    { "remu by zero", do_remu, 7, 0, 7 },
    { "div overflow", do_div, LOWEST, MINUS_ONE, LOWEST },
    { "rem overflow", do_rem, LOWEST, MINUS_ONE, 0 },
    { "divw overflow", do_divw, 0x80000000, MINUS_ONE, 0xffffffff80000000 },
    { "remuw by zero", do_remuw, 0x180000005, 0, 0xffffffff80000005 },
    { "mulh", do_mulh, LOWEST, LOWEST, 1UL << 62 },
    { "mulhu", do_mulhu, MINUS_ONE, MINUS_ONE, 0xfffffffffffffffe },
    { "mulhsu", do_mulhsu, MINUS_ONE, MINUS_ONE, MINUS_ONE },
    { "mulw", do_mulw, 0x40000000, 2, 0xffffffff80000000 },
    { "addw", do_addw, 0x7fffffff, 1, 0xffffffff80000000 },
    { "sraw", do_sraw, 0x80000000, 33, 0xffffffffc0000000 },
    { "sllw", do_sllw, 1, 63, 0xffffffff80000000 },
    { "slt", do_slt, MINUS_ONE, 0, 1 },
    { "sltu", do_sltu, MINUS_ONE, 0, 0 },
};

enum verdict check_arithmetic(struct line *line)
{
    unsigned count = sizeof arithmetic / sizeof *arithmetic;

    for (unsigned i = 0; i < count; i++) {
        const struct arithmetic *step = &arithmetic[i];
        uint64_t result = step->instruction(step->first, step->second);

        if (result != step->expected) {
            line_append(line, "%s of %lx and %lx gave %lx", step->name, step->first, step->second, result);
            return FAILED;
        }
    }
    line_append(line, "%u corner cases of M and of word operations", count);
    return PASSED;
}

ATOMIC(amoswap_d, "amoswap.d")
ATOMIC(amoadd_d, "amoadd.d")
ATOMIC(amoxor_d, "amoxor.d")
ATOMIC(amoand_d, "amoand.d")
ATOMIC(amoor_d, "amoor.d")
ATOMIC(amomin_d, "amomin.d")
ATOMIC(amomax_d, "amomax.d")
ATOMIC(amominu_d, "amominu.d")
ATOMIC(amomaxu_d, "amomaxu.d")
ATOMIC(amoadd_w, "amoadd.w")
ATOMIC(amomin_w, "amomin.w")
ATOMIC(amomaxu_w, "amomaxu.w")

struct atomic {
    const char *name;
    uint64_t (*instruction)(uint64_t, uint64_t);
    uint64_t memory, operand, stored, given;
};

static const struct atomic atomics[] = {
    { "amoswap.d", amoswap_d, 3, 5, 5, 3 },
    { "amoadd.d", amoadd_d, MINUS_ONE, 2, 1, MINUS_ONE },
    { "amoxor.d", amoxor_d, 0xff00, 0x0ff0, 0xf0f0, 0xff00 },
    { "amoand.d", amoand_d, 0xff00, 0x0ff0, 0x0f00, 0xff00 },
    { "amoor.d", amoor_d, 0xff00, 0x0ff0, 0xfff0, 0xff00 },
    { "amomin.d", amomin_d, 1, MINUS_ONE, MINUS_ONE, 1 },
    { "amomax.d", amomax_d, 1, MINUS_ONE, 1, 1 },
    { "amominu.d", amominu_d, 1, MINUS_ONE, 1, 1 },
    { "amomaxu.d", amomaxu_d, 1, MINUS_ONE, MINUS_ONE, 1 },
    { "amoadd.w", amoadd_w, 0x11111111ffffffff, 2, 0x1111111100000001, MINUS_ONE },
    { "amomin.w", amomin_w, 0x1111111180000000, 0, 0x1111111180000000, 0xffffffff80000000 },
    { "amomaxu.w", amomaxu_w, 0x1111111180000000, 0, 0x1111111180000000, 0xffffffff80000000 },
};

/* SC with a reservation, and SC without one: the second must fail and write nothing. */
static bool check_reservation(struct line *line, volatile uint64_t *word)
{
    uint64_t loaded, first, second;

    *word = 10;
    for (unsigned tries = 0; tries < 1000; tries++) {
        __asm__ volatile("lr.d %0, (%3)\n\tsc.d %1, %4, (%3)\n\tsc.d %2, %5, (%3)"
                         : "=&r"(loaded), "=&r"(first), "=&r"(second)
                         : "r"(word), "r"(11UL), "r"(12UL)
                         : "memory");
        if (!first)
            break; /* it may fail for no reason, but not for ever (unprivileged ISA, A extension) */
    }
    if (first || !second || loaded != 10 || *word != 11) {
        line_append(line, "lr.d %lu, sc.d %lu, sc.d again %lu, memory %lu", loaded, first, second, *word);
        return false;
    }
    return true;
}

enum verdict check_atomics(struct line *line)
{
    static volatile uint64_t word;
    unsigned count = sizeof atomics / sizeof *atomics;

    for (unsigned i = 0; i < count; i++) {
        const struct atomic *step = &atomics[i];

        word = step->memory;
        uint64_t given = step->instruction((uint64_t)&word, step->operand);
        if (given != step->given || word != step->stored) {
            line_append(line, "%s gave %lx and stored %lx", step->name, given, word);
            return FAILED;
        }
    }
    if (!check_reservation(line, &word))
        return FAILED;
    line_append(line, "%u AMO, LR/SC, and SC without a reservation fails", count);
    return PASSED;
}

enum verdict check_code_change(struct line *line)
{
    /* li a0, 1..2 and ret: the same two words with a new constant must run after FENCE.I (Zifencei). */
    static volatile uint32_t code[2];
    static const uint32_t constants[] = { 0x00100513, 0x00200513 };
    uint64_t sum = 0;

    for (unsigned i = 0; i < 2; i++) {
        code[0] = constants[i];
        code[1] = 0x00008067;
        __asm__ volatile("fence.i" : : : "memory");
        struct outcome outcome = probe(try_jump, (uint64_t)code, 0);
        if (outcome.trapped) {
            line_append(line, "written code traps with cause %lu", outcome.cause);
            return FAILED;
        }
        sum = sum * 10 + outcome.value;
    }
    line_append(line, "code written twice runs as %lu after FENCE.I", sum);
    return sum == 12 ? PASSED : FAILED;
}

struct trapping {
    const char *name;
    attempt attempt;
    uint64_t cause;
    uint64_t bits; /* of the instruction: mtval has these or 0 (privileged ISA 3.1.16); 0 is not looked at */
};

static const struct trapping trapping[] = {
    { "32 ones", try_illegal32, CAUSE_ILLEGAL_INSTRUCTION, 0xffffffff },
    { "16 zeros", try_illegal16, CAUSE_ILLEGAL_INSTRUCTION, 0 },
    { "a write to mvendorid", try_write_read_only_csr, CAUSE_ILLEGAL_INSTRUCTION, 0xf1101073 },
    { "EBREAK", try_ebreak, CAUSE_BREAKPOINT, 0 },
};

enum verdict check_illegal(struct line *line)
{
    for (unsigned i = 0; i < sizeof trapping / sizeof *trapping; i++) {
        const struct trapping *step = &trapping[i];
        struct outcome outcome = probe(step->attempt, 0, 0);

        if (!outcome.trapped || outcome.cause != step->cause || outcome.pc != (uint64_t)step->attempt) {
            line_append(line, "%s: trapped %u, cause %lu, pc %lx", step->name, outcome.trapped, outcome.cause,
                        outcome.pc);
            return FAILED;
        }
        if (step->bits && outcome.trap_value && outcome.trap_value != step->bits) {
            line_append(line, "%s: mtval %lx", step->name, outcome.trap_value);
            return FAILED;
        }
        if (i == 0)
            line_append(line, "cause 2, mtval %lx; ", outcome.trap_value);
    }
    line_append(line, "a read-only CSR likewise; EBREAK is cause 3");
    return PASSED;
}

enum verdict check_misaligned(struct line *line)
{
    static uint8_t bytes[24] __attribute__((aligned(16)));

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i + 1);
    struct outcome outcome = probe(try_load64, (uint64_t)bytes + 3, 0);
    if (outcome.trapped) {
        bool good = outcome.cause == CAUSE_LOAD_MISALIGNED && outcome.trap_value == (uint64_t)bytes + 3;
        line_append(line, "traps with cause %lu, mtval %lx", outcome.cause, outcome.trap_value);
        return good ? PASSED : FAILED;
    }
    line_append(line, "works in hardware, gave %lx", outcome.value);
    return outcome.value == 0x0b0a090807060504 ? PASSED : FAILED;
}
