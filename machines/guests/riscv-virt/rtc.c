/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "rtc.h"

#include <stdbool.h>

#include "board.h"
#include "csr.h"
#include "interrupt.h"
#include "mmio.h"
#include "plic.h"
#include "timer.h"

enum rtc_register {
    TIME_LOW = 0x00, /* reading it latches TIME_HIGH */
    TIME_HIGH = 0x04,
    ALARM_LOW = 0x08, /* writing it arms the alarm with the ALARM_HIGH written before */
    ALARM_HIGH = 0x0c,
    IRQ_ENABLED = 0x10,
    CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18,
    CLEAR_INTERRUPT = 0x1c,
};

static uint32_t get(enum rtc_register offset) { return mmio_read32(board.rtc.base + offset); }
static void set(enum rtc_register offset, uint32_t value) { mmio_write32(board.rtc.base + offset, value); }

/* Nanoseconds since 1970. */
static uint64_t now(void)
{
    uint64_t low = get(TIME_LOW);

    return (uint64_t)get(TIME_HIGH) << 32 | low;
}

static bool leap(unsigned year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

static void append_date(struct line *line, uint64_t seconds)
{
    static const uint8_t lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    unsigned days = (unsigned)(seconds / 86400), clock = (unsigned)(seconds % 86400), year = 1970, month = 0;

    /* 64 bits of nanoseconds end in 2554, which bounds the loop. */
    while (days >= (leap(year) ? 366u : 365u))
        days -= leap(year++) ? 366 : 365;
    for (; month < 11; month++) {
        unsigned length = lengths[month] + (month == 1 && leap(year));

        if (days < length)
            break;
        days -= length;
    }
    line_append(line, "%04u-%02u-%02u %02u:%02u:%02u UTC", year, month + 1, days + 1, clock / 3600, clock / 60 % 60,
                clock % 60);
}

enum verdict check_rtc(struct line *line)
{
    if (!board.rtc.size) {
        line_append(line, "no RTC in the device tree");
        return SKIPPED;
    }
    uint64_t first = now(), before = first, steps = 0;
    struct deadline deadline = deadline_in(500000);

    while (steps < 10 && !deadline_passed(&deadline)) {
        uint64_t later = now();

        if (later < before) {
            line_append(line, "went back from %lu to %lu ns", before, later);
            return FAILED;
        }
        steps += later != before;
        before = later;
    }
    append_date(line, first / 1000000000);
    line_append(line, steps ? ", ticking" : ", but it stands still");
    return steps ? PASSED : FAILED;
}

static volatile unsigned alarms;

static void serve_alarm(void)
{
    alarms++;
    set(CLEAR_INTERRUPT, 1);
}

enum verdict check_rtc_alarm(struct line *line)
{
    if (!board.rtc.size || !board.rtc_irq) {
        line_append(line, "no RTC with an interrupt in the device tree");
        return SKIPPED;
    }
    alarms = 0;
    plic_forget();
    plic_attach(board.rtc_irq, serve_alarm);
    set(CLEAR_ALARM, 1);
    set(CLEAR_INTERRUPT, 1);
    set(IRQ_ENABLED, 1);
    uint64_t due = now() + 1000000;
    set(ALARM_HIGH, (uint32_t)(due >> 32));
    set(ALARM_LOW, (uint32_t)due);
    bool armed = get(ALARM_STATUS) == 1;

    interrupt_open(IRQ_MACHINE_EXTERNAL);
    struct deadline deadline = deadline_in(500000);
    while (!alarms && !deadline_passed(&deadline))
        ;
    uint64_t taken = now();
    interrupt_close(IRQ_MACHINE_EXTERNAL);
    bool still_armed = get(ALARM_STATUS) != 0;
    set(IRQ_ENABLED, 0);
    set(CLEAR_ALARM, 1);
    plic_attach(board.rtc_irq, 0);
    if (alarms != 1 || plic_last_claim() != board.rtc_irq || taken < due || still_armed) {
        line_append(line, "armed %u, %u alarms, last claim %u, %s 1 ms, status %u", armed, alarms, plic_last_claim(),
                    taken < due ? "before" : "after", still_armed);
        return FAILED;
    }
    line_append(line, "claim = %u, %lu us after it was due", plic_last_claim(), (taken - due) / 1000);
    return PASSED;
}
