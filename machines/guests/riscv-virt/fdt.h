/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Flattened device tree: a walker that reads the blob in place (Devicetree Specification 0.4, chapter 5). */
#ifndef FDT_H
#define FDT_H

#include <stdbool.h>
#include <stdint.h>

/* A blob whose header has been checked: both blocks lie inside it. */
struct fdt {
    const uint8_t *structure;
    uint32_t structure_size;
    const uint8_t *strings;
    uint32_t strings_size;
    uint32_t total_size;
};

/* One node, with its properties in bytes [properties, properties_end) of the structure block. */
struct fdt_node {
    const struct fdt *fdt;
    const char *name;
    const char *parent;
    unsigned depth;          /* 0 for the root */
    uint32_t address_cells;  /* of its parent: the format of its reg */
    uint32_t size_cells;
    uint32_t properties;
    uint32_t properties_end;
};

struct fdt_property {
    const uint8_t *value;
    uint32_t length;
};

/* Checks magic, version and bounds; false leaves `fdt` unusable. */
bool fdt_open(struct fdt *fdt, uint64_t address);

/* Calls `visit` for each node, parents first; false if the structure is broken (nodes up to there were visited). */
bool fdt_walk(const struct fdt *fdt, void (*visit)(const struct fdt_node *node, void *context), void *context);

/* The property of that name; false if the node has none. */
bool fdt_find(const struct fdt_node *node, const char *name, struct fdt_property *property);

/* The property as text ended by NUL inside its value, or null. */
const char *fdt_text(const struct fdt_node *node, const char *name);

/* The property's first cell, or `otherwise` if it is missing or short. */
uint32_t fdt_cell(const struct fdt_node *node, const char *name, uint32_t otherwise);

/* Cell `index` of a property; false past its end. */
bool fdt_property_cell(const struct fdt_property *property, uint32_t index, uint32_t *cell);

/* Whether the node's compatible list holds `text`. */
bool fdt_compatible(const struct fdt_node *node, const char *text);

/* Range `index` of the node's reg, in its parent's cells; false if there is none. */
bool fdt_reg(const struct fdt_node *node, unsigned index, uint64_t *base, uint64_t *size);

/* Whether two texts are the same. */
bool text_equal(const char *left, const char *right);

#endif
