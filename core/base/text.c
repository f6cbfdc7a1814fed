/* SPDX-License-Identifier: MIT */
#include "core/base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)

static size_t put_u64(char *out, uint64_t v)
{
    char digits[20], *p = digits + sizeof digits;
    size_t n;

    do *--p = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    n = (size_t)(digits + sizeof digits - p);
    memcpy(out, p, n);
    return n;
}

/* ".5" for 500 of 1000: what is left after the point, without trailing zeros; nothing for
 * 0. */
static size_t put_fraction(char *out, uint64_t part, uint64_t whole)
{
    size_t n = 0;

    if (part == 0) return 0;
    out[n++] = '.';
    while (part > 0) {
        whole /= 10;
        out[n++] = (char)('0' + part / whole);
        part %= whole;
    }
    return n;
}

/* --- durations: the grammar and the arithmetic of the reference's time.ParseDuration()
 * --- */

/* The unit at the front of s, its length in *len; 0 if there is none. */
static uint64_t unit_ns(const char *s, size_t left, size_t *len)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1},
        {"us", 1000},
        {"\u00b5s", 1000},
        {"\u03bcs", 1000},
        {"ms", 1000 * 1000},
        {"s", SECOND_NS},
        {"m", 60 * SECOND_NS},
        {"h", 3600 * SECOND_NS},
    };
    size_t n = 0;

    while (n < left && s[n] != '.' && (s[n] < '0' || s[n] > '9')) n++;
    *len = n;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0)
            return units[i].ns;
    return 0;
}

static const uint64_t RANGE_NS = (uint64_t)1
                                 << 63; /* of the negative half, by one more */

/* One "1.5h" at the front of *s.  False if there is none or it is out of range. */
static bool parse_term(const char **s, const char *end, uint64_t *ns)
{
    const char *p = *s;
    uint64_t whole = 0, part = 0, unit;
    double scale = 1;
    size_t digits = 0, unit_len;
    bool part_full = false;

    for (; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
        if (whole > RANGE_NS / 10) return false;
        whole = whole * 10 + (uint64_t)(*p - '0');
        if (whole > RANGE_NS) return false;
    }
    if (p < end && *p == '.') {
        /* Digits that no longer fit are below a nanosecond. */
        for (p++; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
            if (part_full || part >= RANGE_NS / 10) {
                part_full = true;
                continue;
            }
            part = part * 10 + (uint64_t)(*p - '0');
            scale *= 10;
        }
    }
    if (digits == 0) return false;
    unit = unit_ns(p, (size_t)(end - p), &unit_len);
    if (unit == 0) return false;
    if (whole > RANGE_NS / unit) return false;
    *ns = whole * unit + (uint64_t)((double)part * ((double)unit / scale));
    *s = p + unit_len;
    return *ns <= RANGE_NS;
}

bool text_parse_duration(const char *s, size_t len, int64_t *ns)
{
    const char *end = s + len;
    uint64_t sum = 0, term;
    bool negative = len > 0 && *s == '-';

    if (len > 0 && (*s == '-' || *s == '+')) s++;
    if (s == end) return false;
    if (end - s == 1 && *s == '0') {
        *ns = 0;
        return true;
    }
    while (s < end) {
        if (!parse_term(&s, end, &term)) return false;
        if (term > RANGE_NS - sum) return false;
        sum += term;
    }
    if (!negative && sum == RANGE_NS) return false;
    *ns = negative ? (int64_t)-sum : (int64_t)sum;
    return true;
}

size_t text_duration(char out[TEXT_DURATION_MAX], int64_t ns)
{
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns, unit = 1, seconds = v / SECOND_NS;
    const char *name = "ns";
    size_t n = 0;

    if (ns < 0) out[n++] = '-';
    if (v == 0) {
        name = "s";
    } else if (v >= SECOND_NS) {
        if (seconds >= 3600) {
            n += put_u64(out + n, seconds / 3600);
            out[n++] = 'h';
        }
        if (seconds >= 60) {
            n += put_u64(out + n, seconds / 60 % 60);
            out[n++] = 'm';
        }
        v %= 60 * SECOND_NS;
        unit = SECOND_NS;
        name = "s";
    } else if (v >= 1000 * 1000) {
        unit = 1000 * 1000;
        name = "ms";
    } else if (v >= 1000) {
        unit = 1000;
        name = "\u00b5s";
    }
    n += put_u64(out + n, v / unit);
    n += put_fraction(out + n, v % unit, unit);
    memcpy(out + n, name, strlen(name) + 1);
    return n + strlen(name);
}

/* --- times and sizes --- */

size_t text_time(char out[TEXT_TIME_MAX], uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / SECOND_NS);
    struct tm t;
    size_t n;

    if (wall_ns == 0) {
        strcpy(out, "0001-01-01T00:00:00Z");
        return strlen(out);
    }
    gmtime_r(&seconds, &t);
    n = strftime(out, TEXT_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &t);
    n += put_fraction(out + n, wall_ns % SECOND_NS, SECOND_NS);
    out[n++] = 'Z';
    out[n] = '\0';
    return n;
}

size_t text_size(char out[TEXT_SIZE_MAX], uint64_t bytes)
{
    static const char *const names[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    uint64_t unit = 1, tenths;
    size_t i = 0;
    int n;

    while (bytes / unit >= 1000) unit *= 1000, i++;
    /* Rounded to tenths first and only then to a whole number, as the reference does it:
     * a tie goes to the even neighbour. */
    tenths = bytes / unit * 10 + (bytes % unit * 10 + unit / 2) / unit;
    if (i > 0 && tenths < 100) {
        n = snprintf(out, TEXT_SIZE_MAX, "%u.%u %s", (unsigned)(tenths / 10),
                     (unsigned)(tenths % 10), names[i]);
    } else {
        uint64_t whole = tenths / 10, rest = tenths % 10;

        if (rest > 5 || (rest == 5 && whole % 2 == 1)) whole++;
        n = snprintf(out, TEXT_SIZE_MAX, "%u %s", (unsigned)whole, names[i]);
    }
    return (size_t)n;
}

/* --- real numbers --- */

struct decimal { /* 0.d1d2d3... * 10^point */
    char digits[20];
    int n, point;
};

static void decimal_of_u64(struct decimal *d, uint64_t v, int exponent)
{
    d->n = (int)put_u64(d->digits, v);
    d->point = d->n + exponent;
    while (d->n > 1 && d->digits[d->n - 1] == '0') d->n--;
}

/*
 * Most numbers people store are m / 10^k with few digits.  With m below 10^15 and k up to
 * 22 both are exact as doubles, so the division rounds once, just as reading "m e-k"
 * does: if it gives v, so does reading.  And two decimals of at most 15 digits never read
 * as the same double, so no shorter one exists but m without its trailing zeros.
 */
static bool decimal_by_division(struct decimal *d, double v)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    for (int k = 0; k <= 22; k++) {
        double scaled = v * powers[k], m;

        if (!(scaled < 1e15)) return false;
        m = (double)(uint64_t)(scaled + 0.5);
        if (m >= 1 && m < 1e15 && m / powers[k] == v) {
            decimal_of_u64(d, (uint64_t)m, -k);
            return true;
        }
    }
    return false;
}

/* The digits of "d.ddde-123"; the point may be another character in another locale. */
static void decimal_of_text(struct decimal *d, const char *text)
{
    const char *p = text;

    d->n = 0;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') d->digits[d->n++] = *p;
    d->point = (int)strtol(p + 1, NULL, 10) + 1;
    while (d->n > 1 && d->digits[d->n - 1] == '0') d->n--;
}

/* Add one to the last digit of "d.ddde-123"; false where it would carry into the
 * exponent. */
static bool next_up(char *text)
{
    for (char *p = strchr(text, 'e') - 1; p >= text; p--) {
        if (*p < '0' || *p > '9') continue;
        if (*p < '9') {
            ++*p;
            return true;
        }
        *p = '0';
    }
    return false;
}

/*
 * By trial: the fewest digits whose nearest decimal reads back as v.  Normal doubles hold
 * any 15 digits, so that is where the trial starts.  Just below a power of two doubles
 * lie twice as dense as above: there the nearest decimal may be too far down while the
 * next one up still reads back.
 */
static void decimal_by_trial(struct decimal *d, double v)
{
    char text[40];
    int exponent;
    bool power_of_two = frexp(v, &exponent) == 0.5;

    for (int digits = v < 2.2250738585072014e-308 ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v) break;
        if (power_of_two && next_up(text) && strtod(text, NULL) == v) break;
    }
    decimal_of_text(d, text);
}

static size_t put_zeros(char *out, int n)
{
    if (n <= 0) return 0;
    memset(out, '0', (size_t)n);
    return (size_t)n;
}

static size_t put_plain(char *out, const struct decimal *d)
{
    int whole = d->point < 0 ? 0 : d->point < d->n ? d->point : d->n;
    size_t n = 0;

    memcpy(out, d->digits, (size_t)whole);
    n += (size_t)whole;
    n += put_zeros(out + n, d->point - d->n);
    if (n == 0) out[n++] = '0';
    if (whole == d->n) return n;
    out[n++] = '.';
    n += put_zeros(out + n, -d->point);
    memcpy(out + n, d->digits + whole, (size_t)(d->n - whole));
    return n + (size_t)(d->n - whole);
}

static size_t put_exponent(char *out, const struct decimal *d)
{
    size_t n = 0;

    out[n++] = d->digits[0];
    if (d->n > 1) {
        out[n++] = '.';
        memcpy(out + n, d->digits + 1, (size_t)d->n - 1);
        n += (size_t)d->n - 1;
    }
    /* Above 1e21 and below 1e-6: two digits at least, but "e-7" without its zero. */
    n += (size_t)sprintf(out + n, "e%+d", d->point - 1);
    return n;
}

size_t text_real(char out[TEXT_REAL_MAX], double v)
{
    struct decimal d;
    size_t n = 0;

    if (!isfinite(v)) return 0;
    if (signbit(v)) out[n++] = '-';
    v = fabs(v);
    if (v == 0) {
        out[n++] = '0';
    } else {
        /* A whole number below 2^53 is its own shortest form, but for trailing zeros. */
        if (v < 9007199254740992.0 && v == (double)(uint64_t)v)
            decimal_of_u64(&d, (uint64_t)v, 0);
        else if (!decimal_by_division(&d, v))
            decimal_by_trial(&d, v);
        n += v >= 1e-6 && v < 1e21 ? put_plain(out + n, &d) : put_exponent(out + n, &d);
    }
    out[n] = '\0';
    return n;
}
