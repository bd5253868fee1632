/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "fdt.h"

#include <stddef.h>

#define FDT_MAGIC 0xd00dfeed
#define FDT_VERSION 17
#define HEADER_SIZE 40
/* Far more than any board needs; a header that claims more is not believed. */
#define MAX_SIZE (2u << 20)
#define MAX_DEPTH 16

enum token { BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, NOP = 4, END = 9 };

/* Byte by byte: the blob is big-endian, and nothing is said about its values' alignment. */
static uint32_t be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

bool text_equal(const char *left, const char *right)
{
    while (*left && *left == *right) {
        left++;
        right++;
    }
    return *left == *right;
}

/* The text at `offset` of a block, or null if it does not end inside. */
static const char *text_in(const uint8_t *block, uint32_t size, uint32_t offset)
{
    for (uint32_t end = offset; end < size; end++)
        if (!block[end])
            return (const char *)block + offset;
    return NULL;
}

bool fdt_open(struct fdt *fdt, uint64_t address)
{
    const uint8_t *header = (const uint8_t *)address;

    if (!address || address % 8 || be32(header) != FDT_MAGIC)
        return false;
    uint32_t total = be32(header + 4);
    uint32_t structure = be32(header + 8);
    uint32_t strings = be32(header + 12);
    uint32_t last_compatible = be32(header + 24);
    uint32_t strings_size = be32(header + 32);
    uint32_t structure_size = be32(header + 36);

    if (total < HEADER_SIZE || total > MAX_SIZE || last_compatible > FDT_VERSION)
        return false;
    if (structure > total || structure_size > total - structure || structure % 4)
        return false;
    if (strings > total || strings_size > total - strings)
        return false;
    *fdt = (struct fdt){ header + structure, structure_size, header + strings, strings_size, total };
    return true;
}

/* Reads the cell at *offset and steps over it. */
static bool take_cell(const struct fdt *fdt, uint32_t *offset, uint32_t *cell)
{
    if (*offset > fdt->structure_size || fdt->structure_size - *offset < 4)
        return false;
    *cell = be32(fdt->structure + *offset);
    *offset += 4;
    return true;
}

/* Reads the property whose token ends at *offset and steps to the next token. */
static bool take_property(const struct fdt *fdt, uint32_t *offset, const char **name, struct fdt_property *property)
{
    uint32_t length, name_offset;

    if (!take_cell(fdt, offset, &length) || !take_cell(fdt, offset, &name_offset))
        return false;
    if (length > fdt->structure_size - *offset)
        return false;
    *name = text_in(fdt->strings, fdt->strings_size, name_offset);
    *property = (struct fdt_property){ fdt->structure + *offset, length };
    *offset = (*offset + length + 3) & ~3u;
    return *name != NULL;
}

/* A node that is open, with the format that it gives its children's reg. */
struct level {
    const char *name;
    uint32_t address_cells;
    uint32_t size_cells;
};

bool fdt_walk(const struct fdt *fdt, void (*visit)(const struct fdt_node *node, void *context), void *context)
{
    struct level levels[MAX_DEPTH + 1] = { [0] = { "", 2, 1 } };
    struct fdt_node node = { .fdt = fdt };
    bool pending = false; /* the innermost node's properties are not over yet */
    uint32_t offset = 0, token, depth = 0;

    while (take_cell(fdt, &offset, &token)) {
        uint32_t before = offset - 4;
        struct fdt_property property;
        const char *name;

        if (pending && (token == BEGIN_NODE || token == END_NODE)) {
            node.properties_end = before;
            visit(&node, context);
            pending = false;
        }
        switch (token) {
        case BEGIN_NODE:
            name = text_in(fdt->structure, fdt->structure_size, offset);
            if (!name || depth == MAX_DEPTH)
                return false;
            while (fdt->structure[offset])
                offset++;
            offset = (offset + 4) & ~3u;
            node.name = name;
            node.parent = levels[depth].name;
            node.depth = depth;
            node.address_cells = levels[depth].address_cells;
            node.size_cells = levels[depth].size_cells;
            node.properties = offset;
            pending = true;
            levels[++depth] = (struct level){ name, 2, 1 };
            break;
        case END_NODE:
            if (!depth)
                return false;
            depth--;
            break;
        case PROPERTY:
            if (!pending || !take_property(fdt, &offset, &name, &property))
                return false;
            if (text_equal(name, "#address-cells"))
                fdt_property_cell(&property, 0, &levels[depth].address_cells);
            else if (text_equal(name, "#size-cells"))
                fdt_property_cell(&property, 0, &levels[depth].size_cells);
            break;
        case NOP:
            break;
        case END:
            return depth == 0;
        default:
            return false;
        }
    }
    return false;
}

bool fdt_find(const struct fdt_node *node, const char *name, struct fdt_property *property)
{
    uint32_t offset = node->properties, token;

    while (offset < node->properties_end && take_cell(node->fdt, &offset, &token)) {
        const char *found;

        if (token == NOP)
            continue;
        if (token != PROPERTY || !take_property(node->fdt, &offset, &found, property))
            return false;
        if (text_equal(found, name))
            return true;
    }
    return false;
}

const char *fdt_text(const struct fdt_node *node, const char *name)
{
    struct fdt_property property;

    if (!fdt_find(node, name, &property))
        return NULL;
    return text_in(property.value, property.length, 0);
}

bool fdt_property_cell(const struct fdt_property *property, uint32_t index, uint32_t *cell)
{
    if (property->length / 4 <= index)
        return false;
    *cell = be32(property->value + (uint64_t)index * 4);
    return true;
}

uint32_t fdt_cell(const struct fdt_node *node, const char *name, uint32_t otherwise)
{
    struct fdt_property property;
    uint32_t cell;

    if (fdt_find(node, name, &property) && fdt_property_cell(&property, 0, &cell))
        return cell;
    return otherwise;
}

bool fdt_compatible(const struct fdt_node *node, const char *text)
{
    struct fdt_property list;
    uint32_t offset = 0;
    const char *entry;

    if (!fdt_find(node, "compatible", &list))
        return false;
    while ((entry = text_in(list.value, list.length, offset))) {
        if (text_equal(entry, text))
            return true;
        while (list.value[offset])
            offset++;
        offset++;
    }
    return false;
}

/* Joins up to two cells from `index` on. */
static bool join_cells(const struct fdt_property *property, uint32_t index, uint32_t cells, uint64_t *value)
{
    *value = 0;
    for (uint32_t i = 0; i < cells; i++) {
        uint32_t cell;

        if (!fdt_property_cell(property, index + i, &cell))
            return false;
        *value = *value << 32 | cell;
    }
    return true;
}

bool fdt_reg(const struct fdt_node *node, unsigned index, uint64_t *base, uint64_t *size)
{
    struct fdt_property reg;

    if (node->address_cells > 2 || node->size_cells > 2 || !fdt_find(node, "reg", &reg))
        return false;
    uint32_t first = index * (node->address_cells + node->size_cells);
    return join_cells(&reg, first, node->address_cells, base) &&
           join_cells(&reg, first + node->address_cells, node->size_cells, size);
}
