/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Text output: through the UART, or into a line of memory. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdarg.h>
#include <stdint.h>

/* Text that is being composed; what does not fit is cut. Always ends with NUL. */
struct line {
    unsigned length;
    char text[200];
};

/* Understands %s %c %d %u %x %lu %lx %%, a width and a leading 0 for numbers, a negative width not at all. */
void line_append(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
void line_append_list(struct line *line, const char *format, va_list arguments);

/* Prints on the UART; "\n" becomes "\r\n". At most one line's capacity at a time. */
void console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void console_write(const char *text);

#endif
