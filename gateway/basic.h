/* SPDX-License-Identifier: MIT */
/*
 * basic: the value of an Authorization header (RFC 7617).  Pure.
 */
#ifndef GATEWAY_BASIC_H
#define GATEWAY_BASIC_H

#include <stdbool.h>

struct arena;

/* False, and both NULL: it is of another kind or malformed, or holds a zero byte. */
bool basic_parse(const char *value, struct arena *a, const char **user,
                 const char **password);

#endif
