/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Physical memory protection (privileged ISA 3.7). */
#ifndef PMP_H
#define PMP_H

#include "report.h"

/* Lets S-mode and U-mode reach everything; M-mode may anyway. */
void pmp_open(void);

enum verdict check_user_mode(struct line *line);
enum verdict check_pmp(struct line *line);

#endif
