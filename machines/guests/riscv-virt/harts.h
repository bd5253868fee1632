/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The other harts: called by software interrupt, they count together with hart 0. */
#ifndef HARTS_H
#define HARTS_H

#include <stdint.h>

#include "report.h"

/* What a hart does when it is called; start.S calls it. */
void hart_called(uint64_t hart);

enum verdict check_harts(struct line *line);

#endif
