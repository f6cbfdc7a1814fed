/* SPDX-License-Identifier: MIT */
/* Query strings: whatever comes is decoded or refused with a text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *query = malloc(size + 1);
    struct params p;
    struct arena a;
    struct why why;

    memcpy(query, data, size);
    query[size] = '\0';
    arena_init(&a, 0);
    if (params_parse(&p, query, &a, &why) == ERR_OK) {
        for (int i = 0; i < PARAM_COUNT; i++) {
            struct param_text t = params_text(&p, (enum param)i);
            CHECK(t.s[t.n] == '\0' && t.n <= size);
        }
    } else {
        CHECK(why.code == ERR_INVALID && why.text[0] != '\0');
    }
    arena_fini(&a);
    free(query);
    return 0;
}
