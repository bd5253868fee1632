/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "uart.h"

#include "board.h"
#include "mmio.h"

enum uart_register { THR = 0, RBR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6 };

#define IER_RECEIVED 0x01
#define IER_TRANSMITTER_EMPTY 0x02
#define IIR_NONE 0x01
#define IIR_ID 0x0f
#define IIR_TRANSMITTER_EMPTY 0x02
#define FCR_ENABLE_AND_CLEAR 0x07
#define LCR_8N1 0x03
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt line on PC boards; others ignore it */
#define LSR_DATA_READY 0x01
#define LSR_TRANSMITTER_EMPTY 0x20

#define RING_SIZE 128 /* a power of two */

static uint8_t enabled; /* what IER holds */
static const char *volatile sending;
static volatile unsigned transmit_interrupts;
static volatile uint8_t ring[RING_SIZE];
static volatile unsigned ring_head, ring_tail; /* counts of bytes put in and taken out */

static uint8_t get(enum uart_register offset) { return mmio_read8(board.uart.base + offset); }
static void set(enum uart_register offset, uint8_t value) { mmio_write8(board.uart.base + offset, value); }

static void enable(uint8_t bits)
{
    enabled = bits;
    set(IER, bits);
}

void uart_init(void)
{
    enable(0);
    set(LCR, LCR_8N1);
    set(FCR, FCR_ENABLE_AND_CLEAR);
    set(MCR, MCR_DTR_RTS_OUT2);
}

void uart_put(char byte)
{
    /* A FIFO that never drains must not stop the report: after some ten thousand looks the byte goes out anyway. */
    for (unsigned looks = 0; looks < 10000 && !(get(LSR) & LSR_TRANSMITTER_EMPTY); looks++)
        ;
    set(THR, (uint8_t)byte);
}

void uart_send_by_interrupt(const char *text)
{
    transmit_interrupts = 0;
    sending = text;
}

unsigned uart_transmit_interrupts(void) { return transmit_interrupts; }
bool uart_sent(void) { return !sending; }

void uart_enable_transmit_interrupt(bool on)
{
    enable(on ? enabled | IER_TRANSMITTER_EMPTY : enabled & ~IER_TRANSMITTER_EMPTY);
}

void uart_enable_receive_interrupt(void)
{
    enable(enabled | IER_RECEIVED);
}

int uart_receive(void)
{
    if (ring_head == ring_tail)
        return -1;
    return ring[ring_tail++ % RING_SIZE];
}

static void send_next(void)
{
    const char *text = sending;

    transmit_interrupts++;
    if (text && *text) {
        sending = text + 1;
        set(THR, (uint8_t)*text);
    } else {
        sending = 0;
        uart_enable_transmit_interrupt(false);
    }
}

void uart_interrupt(void)
{
    /* Reading IIR clears the transmitter's request; a byte that does not fit the ring is lost, as in hardware. */
    for (unsigned rounds = 0; rounds < 64; rounds++) {
        uint8_t identification = get(IIR) & IIR_ID;

        if (identification & IIR_NONE)
            return;
        if (identification == IIR_TRANSMITTER_EMPTY) {
            send_next();
            return;
        }
        while (get(LSR) & LSR_DATA_READY && rounds++ < 64) {
            uint8_t byte = get(RBR);
            if (ring_head - ring_tail < RING_SIZE)
                ring[ring_head++ % RING_SIZE] = byte;
        }
        get(MSR);
    }
}
