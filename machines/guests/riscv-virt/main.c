/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest that Flatland ships: it looks at the board, says what it saw, and ends the machine. */
#include <stdbool.h>

#include "board.h"
#include "console.h"
#include "cpu.h"
#include "csr.h"
#include "finisher.h"
#include "flash.h"
#include "fwcfg.h"
#include "harts.h"
#include "monitor.h"
#include "paging.h"
#include "plic.h"
#include "pmp.h"
#include "ram.h"
#include "report.h"
#include "rtc.h"
#include "swi.h"
#include "timer.h"
#include "uart.h"

static enum verdict check_tree(struct line *line)
{
    if (!board.tree.base) {
        line_append(line, "no flattened device tree where a1 says");
        return FAILED;
    }
    line_append(line, "\"%s\", %u harts, %lu MiB, UART at 0x%lx irq %u, PLIC at 0x%lx", board.model, board.hart_count,
                board.ram.size >> 20, board.uart.base, board.uart_irq, board.plic.base);
    if (!board.tree_ok)
        line_append(line, "; it is broken, or names no timer");
    return board.tree_ok && board.hart_count && board.ram.size && board.uart.size && board.plic.size ? PASSED : FAILED;
}

static const struct check checks[] = {
    { "device tree", check_tree },
    { "arithmetic", check_arithmetic },
    { "atomics", check_atomics },
    { "code change", check_code_change },
    { "illegal instruction", check_illegal },
    { "misaligned load", check_misaligned },
    { "RAM", check_ram },
    { "RAM end", check_ram_end },
    { "RAM speed", check_ram_speed },
    { "time", check_time },
    { "timer interrupt", check_timer_interrupt },
    { "WFI", check_wfi },
    { "UART interrupt", check_uart_interrupt },
    { "software interrupt", check_machine_swi },
    { "harts", check_harts },
    { "U-mode", check_user_mode },
    { "PMP", check_pmp },
    { "S-mode interrupt", check_supervisor_swi },
    { "Sv39 translation", check_translation },
    { "Sv39 rights", check_page_rights },
    { "Sv39 A and D", check_accessed_dirty },
    { "RTC", check_rtc },
    { "RTC alarm", check_rtc_alarm },
    { "fw_cfg", check_fwcfg },
    { "fw_cfg DMA", check_fwcfg_dma },
    { "flash query", check_flash_query },
    { "flash program", check_flash_program },
};

static unsigned run_report(void) { return report_run(checks, sizeof checks / sizeof *checks); }

/* Whether a text holds the word, alone between spaces. */
static bool has_word(const char *text, const char *word)
{
    for (const char *at = text; *at; at++) {
        const char *left = at, *right = word;

        while (*right && *left == *right) {
            left++;
            right++;
        }
        if (!*right && (!*left || *left == ' ') && (at == text || at[-1] == ' '))
            return true;
    }
    return false;
}

static void banner(uint64_t hart)
{
    struct line line = { 0 };

    cpu_describe(&line);
    console_print("\nFlatland guest for riscv-virt\n"
                  "hart %lu, M-mode, %s, mtime at %u Hz\n",
                  hart, line.text, board.timebase);
    if (board.bootargs[0])
        console_print("bootargs: %s\n", board.bootargs);
    console_write("\n");
}

/* Called by start.S on hart 0. */
void main(uint64_t hart, uint64_t tree)
{
    board_read(tree);
    uart_init();
    timer_disarm();
    plic_init();
    pmp_open();
    banner(hart);

    unsigned failures = run_report();
    if (has_word(board.bootargs, "interactive"))
        monitor_run(run_report);
    if (failures)
        finisher_fail(failures);
    finisher_power_off();
}
