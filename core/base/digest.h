/* SPDX-License-Identifier: MIT */
/* digest: SHA-256 (FIPS 180-4), by OpenSSL.  Any thread. */
#ifndef CORE_BASE_DIGEST_H
#define CORE_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum { DIGEST_BYTES = 32 };

MUST_USE enum err digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_BYTES]);

#endif
