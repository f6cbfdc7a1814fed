/* SPDX-License-Identifier: MIT */
/* Bytes as the remembered answers of a snapshot: refused, or the same bytes come back. */
#include <stdlib.h>
#include <string.h>

#include "core/node/remember.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct blob *in = blob_copy(data, size), *out;
    struct remember *r;

    if (in == NULL || remember_new(&r) != ERR_OK) abort();
    if (remember_decode(r, in, NULL) == ERR_OK) {
        CHECK(remember_encode(r, &out) == ERR_OK);
        if (out) {
            CHECK(out->len == size);
            CHECK(memcmp(out->data, data, size) == 0);
        } else {
            CHECK(size == 1);
        }
        blob_unref(out);
    } else {
        CHECK(remember_count(r) == 0);
    }
    remember_free(r);
    blob_unref(in);
    return 0;
}
