/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sv39 in S-mode (privileged ISA 4.3 and 4.4). */
#ifndef PAGING_H
#define PAGING_H

#include "report.h"

enum verdict check_translation(struct line *line);
enum verdict check_page_rights(struct line *line);
enum verdict check_accessed_dirty(struct line *line);

#endif
