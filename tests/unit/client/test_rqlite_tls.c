/* SPDX-License-Identifier: MIT */
/* What test_rqlite.c has, over TLS. */
#define CLIENT_TLS 1
#include "tests/unit/client/test_rqlite.c"
