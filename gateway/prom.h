/* SPDX-License-Identifier: MIT */
/*
 * prom: figures as text for Prometheus, format 0.0.4.
 *
 *     # HELP name what it is
 *     # TYPE name counter
 *     name{label="value"} 1
 *
 * A family's samples stand together, behind its two lines: prom_family(), then its
 * samples.  Pure; out of memory is the buf's to remember.
 */
#ifndef GATEWAY_PROM_H
#define GATEWAY_PROM_H

#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/histogram.h"

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

struct prom_label {
    const char *name, *value; /* value: any text, escaped here */
};

void prom_family(struct buf *b, const char *name, enum prom_type type, const char *help);

void prom_uint(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
               uint64_t v);
void prom_int(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
              int64_t v);
void prom_real(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
               double v);
/* All samples of a histogram in seconds: its buckets, sum and count. */
void prom_histogram(struct buf *b, const char *name, const struct prom_label *label,
                    const struct histogram_sum *h);

#endif
