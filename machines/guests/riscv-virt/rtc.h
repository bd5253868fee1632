/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Goldfish real-time clock (Android's "goldfish" virtual hardware guide). */
#ifndef RTC_H
#define RTC_H

#include "report.h"

enum verdict check_rtc(struct line *line);
enum verdict check_rtc_alarm(struct line *line);

#endif
