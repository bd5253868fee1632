/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "plic.h"

#include "board.h"
#include "csr.h"
#include "interrupt.h"
#include "mmio.h"
#include "timer.h"
#include "uart.h"

#define PRIORITY 0x0 /* 4 bytes a source */
#define PENDING 0x1000 /* a bit a source */
#define ENABLE 0x2000 /* a bit a source, 0x80 bytes a context */
#define ENABLE_STRIDE 0x80
#define THRESHOLD 0x200000 /* 0x1000 bytes a context */
#define CONTEXT_STRIDE 0x1000
#define CLAIM 0x200004
#define HIGHEST_PRIORITY 7 /* of the boards that this guest runs on */

static void (*servers[PLIC_MAX_SOURCES])(void);
static volatile uint32_t last_claim;
static volatile unsigned claims;

static uint64_t enable_word(uint32_t source)
{
    return board.plic.base + ENABLE + ENABLE_STRIDE * board.plic_context + source / 32 * 4;
}

static uint64_t claim_register(void) { return board.plic.base + CLAIM + CONTEXT_STRIDE * board.plic_context; }

void plic_set_threshold(uint32_t threshold)
{
    mmio_write32(board.plic.base + THRESHOLD + CONTEXT_STRIDE * board.plic_context, threshold);
}

void plic_init(void)
{
    if (!board.plic.size)
        return;
    for (uint32_t source = 0; source < PLIC_MAX_SOURCES; source += 32)
        mmio_write32(enable_word(source), 0);
    plic_set_threshold(0);
}

void plic_attach(uint32_t source, void (*serve)(void))
{
    if (!source || source >= PLIC_MAX_SOURCES || !board.plic.size)
        return;
    uint32_t bit = 1u << source % 32, word = mmio_read32(enable_word(source));

    servers[source] = serve;
    mmio_write32(board.plic.base + PRIORITY + source * 4, serve ? 1 : 0);
    mmio_write32(enable_word(source), serve ? word | bit : word & ~bit);
}

bool plic_pending(uint32_t source)
{
    return mmio_read32(board.plic.base + PENDING + source / 32 * 4) >> source % 32 & 1;
}

uint32_t plic_last_claim(void) { return last_claim; }
unsigned plic_claims(void) { return claims; }

void plic_forget(void)
{
    last_claim = 0;
    claims = 0;
}

void plic_interrupt(void)
{
    uint32_t source = mmio_read32(claim_register());

    if (!source)
        return; /* mip may trail the PLIC, so a claim may find nothing */
    last_claim = source;
    claims++;
    if (source < PLIC_MAX_SOURCES && servers[source])
        servers[source]();
    mmio_write32(claim_register(), source);
}

/* Waits until the UART's request has reached the PLIC. */
static bool wait_pending(uint64_t microseconds)
{
    struct deadline deadline = deadline_in(microseconds);

    while (!plic_pending(board.uart_irq))
        if (deadline_passed(&deadline))
            return false;
    return true;
}

/*
 * With the threshold up, the request must stop at the PLIC; with it down, it must reach the hart. The hart's
 * interrupts are off meanwhile.
 */
static bool masked_then_shown(struct line *line)
{
    plic_set_threshold(HIGHEST_PRIORITY);
    uart_enable_transmit_interrupt(true);
    /* An empty transmitter requests at once; some models wait for the next byte (here a harmless one). */
    if (!wait_pending(200)) {
        uart_put('\r');
        if (!wait_pending(100000)) {
            line_append(line, "source %u never became pending", board.uart_irq);
            return false;
        }
    }
    if (!interrupt_settles(IRQ_MACHINE_EXTERNAL, false)) {
        line_append(line, "seen by the hart in spite of threshold %u", HIGHEST_PRIORITY);
        return false;
    }
    plic_set_threshold(0);
    if (!interrupt_settles(IRQ_MACHINE_EXTERNAL, true)) {
        line_append(line, "pending in the PLIC, not in mip");
        return false;
    }
    return true;
}

/* Takes interrupts until the text is out. */
static bool send_by_interrupts(struct line *line, const char *text, unsigned length)
{
    plic_forget();
    uart_send_by_interrupt(text);
    interrupt_open(IRQ_MACHINE_EXTERNAL);
    struct deadline deadline = deadline_in(500000);
    while (!uart_sent() && !deadline_passed(&deadline))
        ;
    interrupt_close(IRQ_MACHINE_EXTERNAL);
    if (!uart_sent() || plic_last_claim() != board.uart_irq || uart_transmit_interrupts() != length + 1) {
        line_append(line, "%u interrupts for %u bytes, last claim %u", uart_transmit_interrupts(), length,
                    plic_last_claim());
        return false;
    }
    /* Nothing is left: the claim register is read once more and must say so. */
    uint32_t left = mmio_read32(claim_register());
    if (left || !interrupt_settles(IRQ_MACHINE_EXTERNAL, false)) {
        line_append(line, "claim gives %u after the last completion", left);
        return false;
    }
    line_append(line, "claim = %u, masked by the threshold, %u bytes sent by %u interrupts", board.uart_irq, length,
                uart_transmit_interrupts());
    return true;
}

enum verdict check_uart_interrupt(struct line *line)
{
    static const char text[] = "       (this line leaves the UART a byte for each interrupt)\r\n";

    if (!board.plic.size || !board.uart_irq || board.uart_irq >= PLIC_MAX_SOURCES) {
        line_append(line, "the device tree names no PLIC or no UART interrupt");
        return FAILED;
    }
    plic_attach(board.uart_irq, uart_interrupt);
    bool good = masked_then_shown(line) && send_by_interrupts(line, text, sizeof text - 1);
    plic_set_threshold(0);
    uart_enable_transmit_interrupt(false);
    uart_send_by_interrupt(0);
    return good ? PASSED : FAILED;
}
