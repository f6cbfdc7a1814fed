/* SPDX-License-Identifier: MIT */
/*
 * bind: parameters of a request -> parameters of a statement (HTTP API 4.2).
 *
 * A string of several statements consumes one list: each statement takes as many entries
 * as it has parameters, and sees all named ones.  Values are bound where they lie,
 * without a copy: they outlive the step.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "core/db/internal.h"

static bool is_named(const struct db_param *p)
{
    return p->name && p->name[0];
}

static int bind_value(sqlite3_stmt *s, int at, const struct db_value *v)
{
    switch (v->type) {
    case DB_INTEGER: return sqlite3_bind_int64(s, at, v->u.i);
    case DB_REAL: return sqlite3_bind_double(s, at, v->u.r);
    case DB_TEXT:
        return sqlite3_bind_text64(s, at, v->u.s.n ? v->u.s.p : "", v->u.s.n,
                                   SQLITE_STATIC, SQLITE_UTF8);
    case DB_BLOB:
        return sqlite3_bind_blob64(s, at, v->u.s.n ? v->u.s.p : "", v->u.s.n,
                                   SQLITE_STATIC);
    case DB_NULL: break;
    }
    return sqlite3_bind_null(s, at);
}

static int bind_named(sqlite3_stmt *s, const struct db_param *p)
{
    char room[128], *name = room;
    size_t n = strlen(p->name);
    int rc = SQLITE_OK;

    if (n + 2 > sizeof room && !(name = malloc(n + 2))) return SQLITE_NOMEM;
    memcpy(name + 1, p->name, n + 1);
    for (const char *prefix = ":@$"; *prefix && rc == SQLITE_OK; prefix++) {
        name[0] = *prefix;
        int at = sqlite3_bind_parameter_index(s, name);
        if (at) rc = bind_value(s, at, &p->value);
    }
    if (name != room) free(name);
    return rc;
}

bool db_bind(struct db_conn *c, struct db_prep *p, const struct db_binding *b,
             size_t *used, char text[DB_BIND_ERR_MAX])
{
    const struct db_param *params = b->in->params;
    size_t n = b->in->n_params, want = (size_t)p->n_params, first = *used;
    int rc = SQLITE_OK;

    if (want == 0) return true;
    if (n == 0 && !b->checked) {
        sqlite3_clear_bindings(p->handle); /* all NULL: kept from the reference */
        return true;
    }
    if (n - first < want) {
        snprintf(text, DB_BIND_ERR_MAX,
                 "not enough args to execute query: want %zu got %zu", want,
                 b->read_path ? n - first : n);
        return false;
    }
    *used = first + want;
    if (!b->named) {
        for (size_t i = 0; i < want && rc == SQLITE_OK; i++)
            rc = bind_value(p->handle, (int)i + 1, &params[first + i].value);
    } else {
        sqlite3_clear_bindings(p->handle);
        for (size_t i = first; i < first + want && rc == SQLITE_OK; i++)
            rc = is_named(&params[i])
                     ? bind_named(p->handle, &params[i])
                     : bind_value(p->handle, (int)(i - first) + 1, &params[i].value);
        for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
            if ((i < first || i >= first + want) && is_named(&params[i]))
                rc = bind_named(p->handle, &params[i]);
    }
    if (rc != SQLITE_OK) snprintf(text, DB_BIND_ERR_MAX, "%s", sqlite3_errmsg(c->sqlite));
    return rc == SQLITE_OK;
}

/* The code point at s; 0xfffd for what is no UTF-8. */
static uint32_t first_rune(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    int more = p[0] >= 0xf0 && p[0] < 0xf8 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc2 ? 1 : -1;
    if (more < 0 || p[0] >= 0xf8) return 0xfffd;
    uint32_t r = p[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0xfffd;
        r = r << 6 | (p[i] & 0x3fu);
    }
    return r;
}

static bool begins_with_letter(const char *name)
{
    unsigned char c = (unsigned char)name[0];
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

    uint32_t r = first_rune(name);
    if (r == 0xfffd) return false;
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!utf8) return true;
    bool letter = iswalpha_l((wint_t)r, utf8) != 0;
    freelocale(utf8);
    return letter;
}

bool db_binding_init(struct db_binding *b, const struct db_stmt *in, bool read_path,
                     bool limited, char text[DB_BIND_ERR_MAX])
{
    *b = (struct db_binding){
        .in = in, .read_path = read_path, .checked = read_path || limited};
    for (size_t i = 0; i < in->n_params; i++) {
        const struct db_param *p = &in->params[i];
        if (!is_named(p)) continue;
        b->named = true;
        if (begins_with_letter(p->name)) continue;
        snprintf(text, DB_BIND_ERR_MAX, "name \"%.256s\" does not begin with a letter",
                 p->name);
        return false;
    }
    return true;
}
