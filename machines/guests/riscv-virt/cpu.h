/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checks of the hart itself. */
#ifndef CPU_H
#define CPU_H

#include "report.h"

/* Appends what misa says, for people. */
void cpu_describe(struct line *line);

enum verdict check_arithmetic(struct line *line);
enum verdict check_atomics(struct line *line);
enum verdict check_code_change(struct line *line);
enum verdict check_illegal(struct line *line);
enum verdict check_misaligned(struct line *line);

#endif
