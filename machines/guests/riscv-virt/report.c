/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "report.h"

#include "timer.h"

static const char *current;

const char *report_current(void) { return current ? current : "none"; }

unsigned report_run(const struct check *checks, unsigned count)
{
    static const char *const marks[] = { [PASSED] = "[ ok ]", [FAILED] = "[FAIL]", [SKIPPED] = "[skip]" };
    unsigned tally[3] = { 0 };
    uint64_t start = timer_now();

    for (unsigned i = 0; i < count; i++) {
        struct line line = { 0 };

        current = checks[i].name;
        enum verdict verdict = checks[i].run(&line);
        current = 0;

        tally[verdict]++;
        console_print("%s %s: ", marks[verdict], checks[i].name);
        console_write(line.text);
        console_write("\n");
    }
    uint64_t spent = timer_microseconds(timer_now() - start);

    console_print("\n%lu.%03lu ms", spent / 1000, spent % 1000);
    if (tally[SKIPPED])
        console_print(", %u skipped", tally[SKIPPED]);
    console_write("\n");
    if (tally[FAILED])
        console_print("%u of %u checks FAILED\n", tally[FAILED], tally[PASSED] + tally[FAILED]);
    else
        console_print("all %u checks passed\n", tally[PASSED]);
    return tally[FAILED];
}
