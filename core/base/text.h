/* SPDX-License-Identifier: MIT */
/*
 * text: the forms of durations, times, sizes and numbers that users of the reference know
 * (its language's conventions).  Pure; any thread.  spec: HTTP API 1.7 and 2.2,
 * server 1.1.
 */
#ifndef CORE_BASE_TEXT_H
#define CORE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TEXT_DURATION_MAX = 40,
    TEXT_TIME_MAX = 40,
    TEXT_SIZE_MAX = 24,
    TEXT_REAL_MAX = 32
};

/* "1h2m3.5s", "250ms", "-1.5h", "0" -> nanoseconds.  False if not a duration or out of
 * range. */
bool text_parse_duration(const char *s, size_t len, int64_t *ns);
/* Nanoseconds -> "19.219µs", "50ms", "1m39.04734679s", "1h0m0s", "0s".  Returns the
 * length. */
size_t text_duration(char out[TEXT_DURATION_MAX], int64_t ns);
/* Wall nanoseconds -> "2026-11-21T05:09:20.123Z" (UTC, zeros cut); 0 ->
 * "0001-01-01T00:00:00Z". */
size_t text_time(char out[TEXT_TIME_MAX], uint64_t wall_ns);
/* 999 B, 4.1 kB, 70 kB, 1.2 MB (powers of 1000). */
size_t text_size(char out[TEXT_SIZE_MAX], uint64_t bytes);
/* Shortest decimal that reads back to the same finite double, in the form of HTTP
 * API 1.7. Returns the length; 0 for infinities and NaN. */
size_t text_real(char out[TEXT_REAL_MAX], double v);

#endif
