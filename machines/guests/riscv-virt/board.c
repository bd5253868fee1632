/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "board.h"

#include <stddef.h>

#include "csr.h"
#include "fdt.h"

struct board board;

/* What the walk remembers between nodes. */
struct reading {
    const char *console;               /* last component of stdout-path, or null */
    uint32_t hart;                     /* id of the cpu node last entered */
    uint32_t boot_intc;                /* phandle of hart 0's interrupt controller */
    struct fdt_property plic_contexts; /* pairs of phandle and interrupt, one a context */
};

/* Whether `name`, up to the options after a colon, ends the path at `component`. */
static bool names_component(const char *component, const char *name)
{
    while (*component && *component == *name) {
        component++;
        name++;
    }
    return !*name && (!*component || *component == ':');
}

static const char *last_component(const char *path)
{
    const char *last = path;

    for (; *path && *path != ':'; path++)
        if (*path == '/')
            last = path + 1;
    return last;
}

static void visit_chosen(const struct fdt_node *node, void *context)
{
    struct reading *reading = context;

    if (node->depth != 1 || !text_equal(node->name, "chosen"))
        return;
    const char *path = fdt_text(node, "stdout-path");
    if (path)
        reading->console = last_component(path);
    const char *bootargs = fdt_text(node, "bootargs");
    if (bootargs)
        board.bootargs = bootargs;
}

static void visit_cpu(const struct fdt_node *node, struct reading *reading)
{
    const char *type = fdt_text(node, "device_type");
    const char *status = fdt_text(node, "status");
    uint64_t id, size;

    if (!type || !text_equal(type, "cpu") || !fdt_reg(node, 0, &id, &size))
        return;
    reading->hart = (uint32_t)id;
    if (status && !text_equal(status, "okay") && !text_equal(status, "ok"))
        return;
    board.hart_count++;
    if (id < MAX_HARTS && board.usable_harts < MAX_HARTS)
        board.harts[board.usable_harts++] = (uint32_t)id;
}

static void visit_memory(const struct fdt_node *node)
{
    const char *type = fdt_text(node, "device_type");
    uint64_t here = (uint64_t)__image_start;
    struct range bank;

    if (!type || !text_equal(type, "memory"))
        return;
    for (unsigned i = 0; fdt_reg(node, i, &bank.base, &bank.size); i++)
        if (here >= bank.base && here - bank.base < bank.size)
            board.ram = bank;
}

static void visit_flash(const struct fdt_node *node)
{
    struct range bank;

    board.flash_bank_width = fdt_cell(node, "bank-width", 0);
    for (unsigned i = 0; board.flash_banks < MAX_FLASH_BANKS && fdt_reg(node, i, &bank.base, &bank.size); i++)
        board.flash[board.flash_banks++] = bank;
}

static void visit_clint(const struct fdt_node *node)
{
    struct range first, second;

    if (!fdt_reg(node, 0, &first.base, &first.size))
        return;
    if (fdt_compatible(node, "sifive,clint0") || fdt_compatible(node, "riscv,clint0")) {
        board.mswi = first.base;
        board.mtimecmp = first.base + 0x4000;
        board.mtime = first.base + 0xbff8;
    } else if (fdt_compatible(node, "riscv,aclint-mswi")) {
        board.mswi = first.base;
    } else if (fdt_compatible(node, "riscv,aclint-sswi")) {
        board.sswi = first.base;
    } else if (fdt_compatible(node, "riscv,aclint-mtimer") && fdt_reg(node, 1, &second.base, &second.size)) {
        board.mtime = first.base;
        board.mtimecmp = second.base;
    }
}

static void visit_device(const struct fdt_node *node, struct reading *reading)
{
    struct range first;

    if (!fdt_reg(node, 0, &first.base, &first.size))
        return;
    if (fdt_compatible(node, "ns16550a")) {
        if (!board.uart.size || (reading->console && names_component(reading->console, node->name))) {
            board.uart = first;
            board.uart_irq = fdt_cell(node, "interrupts", 0);
        }
    } else if (fdt_compatible(node, "riscv,plic0") || fdt_compatible(node, "sifive,plic-1.0.0")) {
        board.plic = first;
        board.plic_sources = fdt_cell(node, "riscv,ndev", 0);
        fdt_find(node, "interrupts-extended", &reading->plic_contexts);
    } else if (fdt_compatible(node, "sifive,test0") || fdt_compatible(node, "sifive,test1")) {
        board.finisher = first.base;
    } else if (fdt_compatible(node, "google,goldfish-rtc")) {
        board.rtc = first;
        board.rtc_irq = fdt_cell(node, "interrupts", 0);
    } else if (fdt_compatible(node, "qemu,fw-cfg-mmio")) {
        board.fwcfg = first;
    } else if (fdt_compatible(node, "cfi-flash")) {
        visit_flash(node);
    } else {
        visit_clint(node);
    }
}

static void visit_node(const struct fdt_node *node, void *context)
{
    struct reading *reading = context;

    if (node->depth == 0) {
        const char *model = fdt_text(node, "model");
        if (model)
            board.model = model;
    } else if (node->depth == 1 && text_equal(node->name, "cpus")) {
        board.timebase = fdt_cell(node, "timebase-frequency", board.timebase);
    } else if (node->depth == 2 && text_equal(node->parent, "cpus")) {
        visit_cpu(node, reading);
    } else if (fdt_compatible(node, "riscv,cpu-intc")) {
        if (reading->hart == 0)
            reading->boot_intc = fdt_cell(node, "phandle", 0);
    } else {
        visit_memory(node);
        visit_device(node, reading);
    }
}

/* The PLIC numbers its contexts in the order of interrupts-extended (its device tree binding). */
static void find_context(const struct reading *reading)
{
    uint32_t intc, irq;

    for (uint32_t i = 0; fdt_property_cell(&reading->plic_contexts, 2 * i, &intc) &&
                         fdt_property_cell(&reading->plic_contexts, 2 * i + 1, &irq); i++)
        if (intc == reading->boot_intc && irq == IRQ_MACHINE_EXTERNAL)
            board.plic_context = i;
}

void board_read(uint64_t address)
{
    struct reading reading = { .hart = ~0u };
    struct fdt fdt;

    board = (struct board){ .model = "unknown", .bootargs = "", .timebase = 10000000 };
    if (fdt_open(&fdt, address)) {
        board.tree = (struct range){ address, fdt.total_size };
        fdt_walk(&fdt, visit_chosen, &reading);
        board.tree_ok = fdt_walk(&fdt, visit_node, &reading);
        find_context(&reading);
    }
    /* Without these there is no report at all; the device tree's check tells that they were guessed. */
    if (!board.timebase)
        board.timebase = 10000000;
    if (!board.uart.size)
        board.uart.base = 0x10000000;
    if (!board.finisher)
        board.finisher = 0x100000;
    if (!board.mtime) {
        board.tree_ok = false;
        board.mswi = 0x2000000;
        board.mtimecmp = 0x2004000;
        board.mtime = 0x200bff8;
    }
}
