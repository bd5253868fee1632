/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "monitor.h"

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "console.h"
#include "csr.h"
#include "fdt.h"
#include "finisher.h"
#include "plic.h"
#include "probe.h"
#include "uart.h"

#define MAX_WORDS 3

static char input[80];

/* Sleeps until a byte comes. Waiting here has no limit: a person is at the other end. */
static char wait_byte(void)
{
    for (;;) {
        int byte = uart_receive();
        if (byte >= 0)
            return (char)byte;
        /* Interrupts stay off between the look at the ring and WFI, so none is slept over; WFI wakes all the same. */
        __asm__ volatile("wfi");
        csr_set(mstatus, MSTATUS_MIE);
        csr_clear(mstatus, MSTATUS_MIE);
    }
}

static void read_line(void)
{
    unsigned length = 0;

    for (;;) {
        char byte = wait_byte();

        if (byte == '\r' || byte == '\n')
            break;
        if ((byte == '\b' || byte == 0x7f) && length) {
            length--;
            console_write("\b \b");
        } else if (byte >= ' ' && byte <= '~' && length + 1 < sizeof input) {
            input[length++] = byte;
            uart_put(byte);
        }
    }
    input[length] = 0;
    console_write("\n");
}

static unsigned split(const char *words[MAX_WORDS])
{
    unsigned count = 0;
    char *at = input;

    for (;;) {
        while (*at == ' ')
            *at++ = 0;
        if (!*at)
            return count;
        if (count == MAX_WORDS)
            return MAX_WORDS + 1;
        words[count++] = at;
        while (*at && *at != ' ')
            at++;
    }
}

/* A number: hexadecimal after 0x, decimal otherwise. */
static bool parse(const char *text, uint64_t *value)
{
    unsigned base = 10;

    *value = 0;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned lower = (unsigned)*text | 0x20;
        unsigned digit = *text >= '0' && *text <= '9' ? (unsigned)*text - '0' : lower >= 'a' ? lower - 'a' + 10 : base;

        if (digit >= base || *value > (UINT64_MAX - digit) / base)
            return false;
        *value = *value * base + digit;
    }
    return true;
}

/* Words where the address allows, otherwise bytes. */
static void peek(uint64_t address)
{
    bool word = address % 4 == 0;
    struct outcome outcome = probe(word ? try_load32 : try_load8, address, 0);

    if (outcome.trapped)
        console_print("0x%lx: cause %lu\n", address, outcome.cause);
    else
        console_print(word ? "0x%lx: 0x%08lx\n" : "0x%lx: 0x%02lx\n", address, outcome.value);
}

static void poke(uint64_t address, uint64_t value)
{
    struct outcome outcome = probe(address % 4 == 0 ? try_store32 : try_store8, address, value);

    if (outcome.trapped)
        console_print("0x%lx: cause %lu\n", address, outcome.cause);
}

static void help(void)
{
    console_write("help                 this list\n"
                  "peek ADDR            read 4 bytes, or one where ADDR is no multiple of 4\n"
                  "poke ADDR VALUE      write as many\n"
                  "report               run the checks again\n"
                  "reset                start the machine again\n"
                  "poweroff             end it\n"
                  "Numbers are decimal, or hexadecimal after 0x.\n");
}

static void obey(unsigned (*report)(void))
{
    const char *words[MAX_WORDS];
    unsigned count = split(words);
    uint64_t address, value;

    if (!count)
        return;
    if (count == 1 && text_equal(words[0], "help"))
        help();
    else if (count == 2 && text_equal(words[0], "peek") && parse(words[1], &address))
        peek(address);
    else if (count == 3 && text_equal(words[0], "poke") && parse(words[1], &address) && parse(words[2], &value))
        poke(address, value);
    else if (count == 1 && text_equal(words[0], "report"))
        report();
    else if (count == 1 && text_equal(words[0], "reset"))
        finisher_reset();
    else if (count == 1 && text_equal(words[0], "poweroff"))
        finisher_power_off();
    else
        console_write("what? try \"help\"\n");
}

void monitor_run(unsigned (*report)(void))
{
    console_write("\nmonitor: try \"help\"\n");
    for (;;) {
        /* A report turns the interrupts off that it tried, so they are set up for each line. */
        plic_attach(board.uart_irq, uart_interrupt);
        uart_enable_receive_interrupt();
        csr_set(mie, IRQ_BIT(IRQ_MACHINE_EXTERNAL));
        console_write("> ");
        read_line();
        obey(report);
    }
}
