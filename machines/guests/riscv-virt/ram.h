/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checks of RAM: it holds what is written, has the size that the device tree says, and nothing is behind it. */
#ifndef RAM_H
#define RAM_H

#include "report.h"

enum verdict check_ram(struct line *line);
enum verdict check_ram_end(struct line *line);
enum verdict check_ram_speed(struct line *line);

#endif
