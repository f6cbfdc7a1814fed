/* SPDX-License-Identifier: MIT */
/*
 * stamp: what a column declared date, datetime or timestamp shows (HTTP API 6.3): RFC
 * 3339 text made of the integer or text that is stored.  Pure.
 */
#ifndef GATEWAY_STAMP_H
#define GATEWAY_STAMP_H

#include <stddef.h>
#include <stdint.h>

enum { STAMP_MAX = 48 };

/* Seconds since 1970, or milliseconds beyond 1e12.  The length; 0 if the year is outside
 * 0..9999. */
size_t stamp_of_int(char out[STAMP_MAX], int64_t v);

/* The length; what is no time stamp gives year 1. */
size_t stamp_of_text(char out[STAMP_MAX], const char *s, size_t n);

#endif
