/* SPDX-License-Identifier: MIT */
#include "gateway/stamp.h"

#include <stdbool.h>
#include <string.h>

struct moment {
    int year, month, day, hour, minute, second;
    char fraction[9]; /* digits, without trailing zeros */
    size_t n_fraction;
    int offset; /* minutes east of UTC */
};

static char *put_number(char *to, int v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10) to[i] = (char)('0' + v % 10);
    return to + digits;
}

static size_t put(char out[STAMP_MAX], const struct moment *m)
{
    char *to = put_number(out, m->year, 4);
    int offset = m->offset < 0 ? -m->offset : m->offset;

    *to++ = '-';
    to = put_number(to, m->month, 2);
    *to++ = '-';
    to = put_number(to, m->day, 2);
    *to++ = 'T';
    to = put_number(to, m->hour, 2);
    *to++ = ':';
    to = put_number(to, m->minute, 2);
    *to++ = ':';
    to = put_number(to, m->second, 2);
    if (m->n_fraction > 0) {
        *to++ = '.';
        memcpy(to, m->fraction, m->n_fraction);
        to += m->n_fraction;
    }
    if (offset == 0) {
        *to++ = 'Z';
    } else {
        *to++ = m->offset < 0 ? '-' : '+';
        to = put_number(to, offset / 60, 2);
        *to++ = ':';
        to = put_number(to, offset % 60, 2);
    }
    return (size_t)(to - out);
}

static void cut_zeros(struct moment *m)
{
    while (m->n_fraction > 0 && m->fraction[m->n_fraction - 1] == '0') m->n_fraction--;
}

/* Year, month and day of a day counted from 1970-01-01, by the calendar of today at all
 * times: years are counted from March 1st of year 0, in eras of 400, so that the odd day
 * comes last. */
static void set_date(struct moment *m, int64_t days)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    m->day = (int)(doy - (153 * mp + 2) / 5 + 1);
    m->month = (int)(mp < 10 ? mp + 3 : mp - 9);
    m->year = (int)(yoe + era * 400 + (m->month <= 2));
}

size_t stamp_of_int(char out[STAMP_MAX], int64_t v)
{
    static const int64_t year_0 = -62167219200, year_10000 = 253402300800;
    struct moment m = {0};
    int64_t seconds = v, ms = 0, days, rest;

    if (v > 1000000000000 || v < -1000000000000) {
        seconds = v / 1000;
        ms = v % 1000;
        if (ms < 0) {
            ms += 1000;
            seconds--;
        }
    }
    if (seconds < year_0 || seconds >= year_10000) return 0;
    days = seconds / 86400;
    rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    set_date(&m, days);
    m.hour = (int)(rest / 3600);
    m.minute = (int)(rest / 60 % 60);
    m.second = (int)(rest % 60);
    put_number(m.fraction, (int)ms, 3);
    m.n_fraction = 3;
    cut_zeros(&m);
    return put(out, &m);
}

/* --- text --- */

struct scan {
    const char *p, *end;
};

static bool at_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool take(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != c) return false;
    s->p++;
    return true;
}

/* min to max digits. */
static bool take_number(struct scan *s, int min, int max, int *v)
{
    int n = 0;

    for (*v = 0; n < max && at_digit(s); n++) *v = *v * 10 + (*s->p++ - '0');
    return n >= min;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

static bool take_date(struct scan *s, struct moment *m)
{
    return take_number(s, 4, 4, &m->year) && take(s, '-') &&
           take_number(s, 2, 2, &m->month) && take(s, '-') &&
           take_number(s, 2, 2, &m->day) && m->month >= 1 && m->month <= 12 &&
           m->day >= 1 && m->day <= days_in(m->year, m->month);
}

/* Digits past nine are cut.  A point without digits stays and so spoils the text. */
static void take_fraction(struct scan *s, struct moment *m)
{
    if (s->end - s->p < 2 || (*s->p != '.' && *s->p != ',')) return;
    if (s->p[1] < '0' || s->p[1] > '9') return;
    for (s->p++; at_digit(s); s->p++)
        if (m->n_fraction < sizeof m->fraction) m->fraction[m->n_fraction++] = *s->p;
    cut_zeros(m);
}

static bool take_offset(struct scan *s, struct moment *m)
{
    int sign = *s->p == '-' ? -1 : 1, hours, minutes;

    if (!take(s, '-') && !take(s, '+')) return false;
    if (!take_number(s, 2, 2, &hours) || !take(s, ':')) return false;
    if (!take_number(s, 2, 2, &minutes) || hours > 23 || minutes > 59) return false;
    m->offset = sign * (hours * 60 + minutes);
    return true;
}

static bool parse(struct scan *s, struct moment *m)
{
    if (!take_date(s, m)) return false;
    if (s->p == s->end) return true;
    if (!take(s, ' ') && !take(s, 'T')) return false;
    if (!take_number(s, 1, 2, &m->hour) || !take(s, ':')) return false;
    if (!take_number(s, 2, 2, &m->minute) || m->hour > 23 || m->minute > 59) return false;
    if (s->p == s->end) return true;
    if (!take(s, ':') || !take_number(s, 2, 2, &m->second) || m->second > 59)
        return false;
    take_fraction(s, m);
    return s->p == s->end || (take_offset(s, m) && s->p == s->end);
}

size_t stamp_of_text(char out[STAMP_MAX], const char *s, size_t n)
{
    struct scan scan = {s, s + n};
    struct moment m = {0};

    if (n > 0 && s[n - 1] == 'Z') scan.end--;
    if (!parse(&scan, &m)) m = (struct moment){.year = 1, .month = 1, .day = 1};
    return put(out, &m);
}
