/* SPDX-License-Identifier: MIT */
/*
 * words: what people read when a system call or a request failed.  Pure; any thread.
 */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stddef.h>

enum { WORDS_ERRNO_MAX = 96, WORDS_STATUS_MAX = 48 };

/* The words for an errno, as the tools of the reference print them: first letter small.
 */
const char *words_errno(int e, char out[WORDS_ERRNO_MAX]);

/* "503 Service Unavailable"; an unknown status gives the number alone. */
const char *words_status(int status, char out[WORDS_STATUS_MAX]);

#endif
