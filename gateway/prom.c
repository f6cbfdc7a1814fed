/* SPDX-License-Identifier: MIT */
#include "gateway/prom.h"

#include <math.h>
#include <stdio.h>

#include "core/base/text.h"
#include "core/base/utf8.h"

/* Backslash and line feed, in labels also the quote; what is no UTF-8 becomes U+FFFD. */
static void put_escaped(struct buf *b, const char *text, bool label)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);

    while (p < end) {
        size_t n = utf8_len(p, end);

        if (*p == '\\')
            buf_append_str(b, "\\\\");
        else if (*p == '\n')
            buf_append_str(b, "\\n");
        else if (*p == '"' && label)
            buf_append_str(b, "\\\"");
        else if (n == 0)
            buf_append_str(b, "\xef\xbf\xbd");
        else
            buf_append(b, p, n);
        p += n > 0 ? n : 1;
    }
}

void prom_family(struct buf *b, const char *name, enum prom_type type, const char *help)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};

    buf_printf(b, "# HELP %s ", name);
    put_escaped(b, help, false);
    buf_printf(b, "\n# TYPE %s %s\n", name, names[type]);
}

static void put_name(struct buf *b, const char *name, const char *suffix,
                     const struct prom_label *labels, size_t n)
{
    buf_append_str(b, name);
    buf_append_str(b, suffix);
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, "%s%s=\"", i > 0 ? "," : "{", labels[i].name);
        put_escaped(b, labels[i].value, true);
        buf_append_u8(b, '"');
    }
    buf_append_str(b, n > 0 ? "} " : " ");
}

static void put_real(struct buf *b, double v)
{
    char text[TEXT_REAL_MAX];

    if (isnan(v))
        buf_append_str(b, "NaN");
    else if (isinf(v))
        buf_append_str(b, v > 0 ? "+Inf" : "-Inf");
    else
        buf_append(b, text, text_real(text, v));
    buf_append_u8(b, '\n');
}

void prom_uint(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
               uint64_t v)
{
    put_name(b, name, "", labels, n);
    buf_append_u64(b, v);
    buf_append_u8(b, '\n');
}

void prom_int(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
              int64_t v)
{
    put_name(b, name, "", labels, n);
    buf_append_i64(b, v);
    buf_append_u8(b, '\n');
}

void prom_real(struct buf *b, const char *name, const struct prom_label *labels, size_t n,
               double v)
{
    put_name(b, name, "", labels, n);
    put_real(b, v);
}

void prom_histogram(struct buf *b, const char *name, const struct prom_label *label,
                    const struct histogram_sum *h)
{
    struct prom_label labels[2];
    size_t n = label ? 1 : 0;
    uint64_t below = 0;

    if (label) labels[0] = *label;
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        below += h->counts[i];
        labels[n] = (struct prom_label){
            "le", i < HISTOGRAM_BOUNDS ? histogram_bound_text(i) : "+Inf"};
        put_name(b, name, "_bucket", labels, n + 1);
        buf_append_u64(b, below);
        buf_append_u8(b, '\n');
    }
    put_name(b, name, "_sum", labels, n);
    put_real(b, (double)h->sum_ns / 1e9);
    put_name(b, name, "_count", labels, n);
    buf_append_u64(b, below);
    buf_append_u8(b, '\n');
}
