/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The report: checks run one after the other, a line for each. */
#ifndef REPORT_H
#define REPORT_H

#include "console.h"

enum verdict {
    PASSED,
    FAILED,
    SKIPPED, /* the board has no such thing */
};

struct check {
    const char *name;
    /* Does the check and appends what it saw. Prints nothing itself. */
    enum verdict (*run)(struct line *line);
};

/* Runs all checks, prints a line for each and the sum; returns the number of failures. */
unsigned report_run(const struct check *checks, unsigned count);

/* The name of the check that runs, or "none". */
const char *report_current(void);

#endif
