/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* NOR flash, Intel command set (JEDEC JESD68.01, Common Flash Interface; Intel StrataFlash P30 datasheet). */
#ifndef FLASH_H
#define FLASH_H

#include "report.h"

enum verdict check_flash_query(struct line *line);
/* Erases the last sector of the last bank, programs words of it and leaves it erased. */
enum verdict check_flash_program(struct line *line);

#endif
