/* SPDX-License-Identifier: MIT */
#include "cli/bench.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/bench_reply.h"
#include "core/base/clock.h"
#include "core/base/text.h"

uint64_t bench_now_ns(void)
{
    return clock_mono_ns(clock_real());
}

bool bench_start_one(struct bench *b, uint64_t now_ns)
{
    bool go = b->duration_ns > 0 ? now_ns - b->begin_ns < b->duration_ns
                                 : b->started < b->requests;

    if (go) b->started++;
    return go;
}

enum err bench_done_one(struct bench *b, uint64_t ns, int status, const char *body,
                        size_t len, struct why *why)
{
    uint64_t before = b->stats.count;
    enum err e = bench_reply_check(status, body, len, b->parse, why);

    if (e) return e;
    bench_stats_add(&b->stats, ns);
    /* The reference counts requests from 0, so this line comes after one more than it
     * says. */
    if (b->progress > 0 && before > 0 && before % b->progress == 0) {
        char took[TEXT_DURATION_MAX];
        text_duration(took, (int64_t)ns);
        printf("%" PRIu64 " requests completed in %s\n", before, took);
    }
    return ERR_OK;
}
