/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "console.h"

#include <stdbool.h>

#include "uart.h"

static void append_char(struct line *line, char byte)
{
    if (line->length + 1 >= sizeof line->text)
        return;
    line->text[line->length++] = byte;
    line->text[line->length] = 0;
}

static void append_number(struct line *line, uint64_t value, unsigned base, unsigned width, char pad)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    for (; width > count; width--)
        append_char(line, pad);
    while (count)
        append_char(line, digits[--count]);
}

void line_append_list(struct line *line, const char *format, va_list arguments)
{
    for (; *format; format++) {
        unsigned width = 0;
        bool wide = false;
        char pad = ' ';

        if (*format != '%') {
            append_char(line, *format);
            continue;
        }
        format++;
        if (*format == '0')
            pad = *format++;
        while (*format >= '0' && *format <= '9')
            width = width * 10 + (unsigned)(*format++ - '0');
        if (*format == 'l') {
            wide = true;
            format++;
        }
        switch (*format) {
        case 's':
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                append_char(line, *text);
            break;
        case 'c':
            append_char(line, (char)va_arg(arguments, int));
            break;
        case 'd': {
            int64_t value = wide ? va_arg(arguments, long) : va_arg(arguments, int);
            if (value < 0)
                append_char(line, '-');
            append_number(line, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, pad);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t value = wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            append_number(line, value, *format == 'x' ? 16 : 10, width, pad);
            break;
        }
        case '%':
            append_char(line, '%');
            break;
        default: /* also the end of a format that stops in the middle */
            return;
        }
    }
}

void line_append(struct line *line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line_append_list(line, format, arguments);
    va_end(arguments);
}

void console_write(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            uart_put('\r');
        uart_put(*text);
    }
}

void console_print(const char *format, ...)
{
    struct line line = { 0 };
    va_list arguments;

    va_start(arguments, format);
    line_append_list(&line, format, arguments);
    va_end(arguments);
    console_write(line.text);
}
