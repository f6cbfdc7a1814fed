/* SPDX-License-Identifier: MIT */
#include "core/base/digest.h"

#include <openssl/evp.h>

enum err digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_BYTES])
{
    unsigned n = 0;

    return EVP_Digest(data, len, out, &n, EVP_sha256(), NULL) == 1 && n == DIGEST_BYTES
               ? ERR_OK
               : ERR_NOMEM;
}
