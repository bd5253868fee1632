/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* QEMU's firmware configuration device, MMIO form (specs/fw_cfg in QEMU's documentation). */
#ifndef FWCFG_H
#define FWCFG_H

#include "report.h"

enum verdict check_fwcfg(struct line *line);
enum verdict check_fwcfg_dma(struct line *line);

#endif
