/* SPDX-License-Identifier: MIT */
/* What test_call.c has, over TLS. */
#define HARNESS_TLS 1
#include "tests/unit/net/test_call.c"
