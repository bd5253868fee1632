/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bank is two chips of 16 bits side by side: each command goes to both halves of a 32-bit word, and each answer
 * comes from both.
 */
#include "flash.h"

#include <stdbool.h>

#include "board.h"
#include "mmio.h"
#include "timer.h"

#define BOTH(value) ((uint32_t)(value) << 16 | (uint32_t)(value))

enum command {
    PROGRAM_WORD = 0x40,
    ERASE_SECTOR = 0x20,
    CLEAR_STATUS = 0x50,
    LOCK_SETUP = 0x60,
    UNLOCK = 0xd0, /* after LOCK_SETUP */
    READ_STATUS = 0x70,
    READ_IDENTIFIER = 0x90,
    QUERY = 0x98,
    CONFIRM = 0xd0,
    BUFFERED_PROGRAM = 0xe8,
    READ_ARRAY = 0xff,
};

#define STATUS_READY 0x80
#define STATUS_ERRORS 0x3a /* erase, program, voltage, locked */

#define ERASED 0xffffffff
#define OPERATION_US 2000000
#define BUFFERED_WORDS 8

/* What the query says of one chip. */
struct chip {
    uint64_t size;          /* bytes */
    uint64_t sector;        /* bytes, in the region of the last sector */
    uint32_t buffer;        /* bytes; 0: no buffered programming */
    uint16_t command_set;
};

static uint32_t read_word(uint64_t address) { return mmio_read32(address); }
static void command(uint64_t address, enum command command) { mmio_write32(address, BOTH(command)); }

/* The bank that is tested: the last. */
static const struct range *bank(void) { return &board.flash[board.flash_banks - 1]; }

static bool present(struct line *line)
{
    if (!board.flash_banks) {
        line_append(line, "no flash in the device tree");
        return false;
    }
    if (board.flash_bank_width != 4) {
        line_append(line, "a bank width of %u bytes is not known here", board.flash_bank_width);
        return false;
    }
    return true;
}

/* Byte `index` of the query, from the low chip. */
static uint32_t query_byte(uint64_t base, uint32_t index) { return read_word(base + 4UL * index) & 0xff; }

/* Reads the query; false if the chips do not answer it, or not the same. */
static bool query(uint64_t base, struct chip *chip)
{
    command(base + 4UL * 0x55, QUERY);
    bool good = read_word(base + 4UL * 0x10) == BOTH('Q') && read_word(base + 4UL * 0x11) == BOTH('R') &&
                read_word(base + 4UL * 0x12) == BOTH('Y');
    uint32_t regions = query_byte(base, 0x2c), buffer = query_byte(base, 0x2a) | query_byte(base, 0x2b) << 8;
    uint32_t size = query_byte(base, 0x27);

    good = good && regions >= 1 && regions <= 4 && size < 32 && buffer < 32;
    if (good) {
        uint32_t last = 0x2d + 4 * (regions - 1);
        uint32_t units = query_byte(base, last + 2) | query_byte(base, last + 3) << 8;

        chip->command_set = (uint16_t)(query_byte(base, 0x13) | query_byte(base, 0x14) << 8);
        chip->size = 1UL << size;
        chip->buffer = buffer ? 1u << buffer : 0;
        chip->sector = units ? units * 256UL : 128; /* JESD68.01: 0 means 128 bytes */
    }
    command(base, READ_ARRAY);
    return good;
}

enum verdict check_flash_query(struct line *line)
{
    struct chip chip;

    if (!present(line))
        return SKIPPED;
    for (unsigned i = 0; i < board.flash_banks; i++) {
        uint64_t base = board.flash[i].base;

        if (!query(base, &chip)) {
            line_append(line, "bank %u at 0x%lx does not answer \"QRY\"", i, base);
            return FAILED;
        }
        if (2 * chip.size != board.flash[i].size || chip.command_set != 1) {
            line_append(line, "bank %u: two chips of %lu bytes, command set %u", i, chip.size, chip.command_set);
            return FAILED;
        }
    }
    command(bank()->base, READ_IDENTIFIER);
    uint32_t maker = read_word(bank()->base), device = read_word(bank()->base + 4);
    command(bank()->base, READ_ARRAY);
    line_append(line, "\"QRY\" from %u banks of 2 x %lu MiB, sectors of 2 x %lu KiB, buffer 2 x %u, id %02x:%02x",
                board.flash_banks, chip.size >> 20, chip.sector >> 10, chip.buffer, maker & 0xffff, device & 0xffff);
    return PASSED;
}

/* Waits until both chips are ready; says what went wrong otherwise. Leaves the bank in status mode. */
static bool finished(struct line *line, uint64_t address, const char *what)
{
    struct deadline deadline = deadline_in(OPERATION_US);
    uint32_t status;

    while (((status = read_word(address)) & BOTH(STATUS_READY)) != BOTH(STATUS_READY)) {
        if (deadline_passed(&deadline)) {
            line_append(line, "%s is not over, status %08x", what, status);
            return false;
        }
    }
    if (status & BOTH(STATUS_ERRORS)) {
        line_append(line, "%s fails with status %08x", what, status);
        return false;
    }
    return true;
}

static bool erase(struct line *line, uint64_t sector)
{
    command(sector, LOCK_SETUP);
    command(sector, UNLOCK);
    command(sector, CLEAR_STATUS);
    command(sector, ERASE_SECTOR);
    command(sector, CONFIRM);
    return finished(line, sector, "the erase");
}

static bool program_word(struct line *line, uint64_t address, uint32_t value)
{
    command(address, PROGRAM_WORD);
    mmio_write32(address, value);
    return finished(line, address, "programming a word");
}

/* A different word at each place. */
static uint32_t word_for(uint32_t index) { return 0x5a000000 + index * 0x00010203; }

/*
 * All cycles are at the buffer's own place, which is a multiple of its size: the datasheet asks for some address of the
 * sector only, but some models hold on to the first one.
 */
static bool program_buffer(struct line *line, uint64_t address)
{
    command(address, BUFFERED_PROGRAM);
    if (!finished(line, address, "asking for the buffer"))
        return false;
    mmio_write32(address, BOTH(BUFFERED_WORDS - 1));
    for (uint32_t i = 0; i < BUFFERED_WORDS; i++)
        mmio_write32(address + 4UL * i, word_for(i));
    command(address, CONFIRM);
    return finished(line, address, "programming the buffer");
}

/* Looks at the sector's first and last word and evenly between; it is too large to read all in good time. */
static bool is_erased(uint64_t sector, uint64_t size, uint64_t *where)
{
    for (uint64_t offset = 0; offset < size; offset += 1020)
        if (read_word(*where = sector + offset) != ERASED)
            return false;
    return read_word(*where = sector + size - 4) == ERASED;
}

static bool holds_programmed(struct line *line, uint64_t sector, uint64_t buffer)
{
    if (read_word(sector) != 0x12345678 || read_word(sector + 4) != 0x00345678 || read_word(sector + 8) != ERASED) {
        line_append(line, "reads %08x %08x %08x back", read_word(sector), read_word(sector + 4), read_word(sector + 8));
        return false;
    }
    for (uint32_t i = 0; i < BUFFERED_WORDS; i++) {
        if (read_word(buffer + 4UL * i) == word_for(i))
            continue;
        line_append(line, "word %u of the buffer reads %08x", i, read_word(buffer + 4UL * i));
        return false;
    }
    return true;
}

static bool program_and_erase(struct line *line, uint64_t sector, const struct chip *chip)
{
    uint64_t size = 2 * chip->sector, buffer = sector + size / 2, where;

    if (!erase(line, sector))
        return false;
    command(sector, READ_ARRAY);
    if (!is_erased(sector, size, &where)) {
        line_append(line, "0x%lx is %08x after the erase", where, read_word(where));
        return false;
    }
    /* The second word is programmed twice, the second time with more bits cleared: no erase is due between. */
    if (!program_word(line, sector, 0x12345678) || !program_word(line, sector + 4, 0x00ffffff) ||
        !program_word(line, sector + 4, 0x00345678) || !program_buffer(line, buffer))
        return false;
    command(sector, READ_ARRAY);
    if (!holds_programmed(line, sector, buffer) || !erase(line, sector))
        return false;
    command(sector, READ_ARRAY);
    if (!is_erased(sector, size, &where)) {
        line_append(line, "0x%lx is %08x after the last erase", where, read_word(where));
        return false;
    }
    return true;
}

enum verdict check_flash_program(struct line *line)
{
    struct chip chip;

    if (!present(line))
        return SKIPPED;
    if (!query(bank()->base, &chip) || 2 * chip.sector > bank()->size || chip.buffer < 2 * BUFFERED_WORDS) {
        line_append(line, "the query describes no chip that could be tested");
        return FAILED;
    }
    uint64_t sector = bank()->base + bank()->size - 2 * chip.sector;
    bool good = program_and_erase(line, sector, &chip);
    command(sector, CLEAR_STATUS);
    command(sector, READ_ARRAY);
    if (!good)
        return FAILED;
    line_append(line, "erased the sector at 0x%lx, programmed 2 words and a buffer of %u, read them back, erased it",
                sector, BUFFERED_WORDS);
    return PASSED;
}
