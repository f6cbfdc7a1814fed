/* SPDX-License-Identifier: MIT */
/* /, /console/ and /licenses (HTTP API 13.3, 13.4).  The page's files are in
 * gateway/console/; it speaks to the same endpoints as everybody else. */
#include <stdio.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "gateway/api/api.h"

#include "console_files.h"

struct file {
    const char *path, *type;
    const unsigned char *data;
    size_t len;
};

#define FILE_OF(name, type, data)                                                        \
    {                                                                                    \
        "/console/" name, type, data, sizeof data                                        \
    }
static const struct file files[] = {
    FILE_OF("", "text/html; charset=utf-8", console_index_html),
    FILE_OF("static/console.css", "text/css; charset=utf-8", console_console_css),
    FILE_OF("static/console.js", "text/javascript; charset=utf-8", console_console_js),
    FILE_OF("static/sql.js", "text/javascript; charset=utf-8", console_sql_js),
    FILE_OF("static/theme.js", "text/javascript; charset=utf-8", console_theme_js),
    FILE_OF("static/icon.svg", "image/svg+xml", console_icon_svg),
};
#undef FILE_OF

static const char licences[] =
    "rqlited (MIT)\n"
    "\n"
    "Permission is hereby granted, free of charge, to any person obtaining a copy of "
    "this software and\n"
    "associated documentation files (the \"Software\"), to deal in the Software without "
    "restriction,\n"
    "including without limitation the rights to use, copy, modify, merge, publish, "
    "distribute,\n"
    "sublicense, and/or sell copies of the Software, and to permit persons to whom the "
    "Software is\n"
    "furnished to do so, subject to the following conditions:\n"
    "\n"
    "The above copyright notice and this permission notice shall be included in all "
    "copies or\n"
    "substantial portions of the Software.\n"
    "\n"
    "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR "
    "IMPLIED, INCLUDING BUT\n"
    "NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE "
    "AND\n"
    "NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR "
    "ANY CLAIM,\n"
    "DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, "
    "ARISING FROM, OUT\n"
    "OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE "
    "SOFTWARE.\n"
    "\n"
    "It is linked with\n"
    "\n"
    "SQLite             public domain                 https://sqlite.org/copyright.html\n"
    "protobuf-c         BSD 2-clause                  "
    "https://github.com/protobuf-c/protobuf-c\n"
    "libevent           BSD 3-clause                  https://libevent.org\n"
    "nghttp2            MIT                           https://nghttp2.org\n"
    "llhttp             MIT                           https://github.com/nodejs/llhttp\n"
    "libcurl            curl (MIT-like)               "
    "https://curl.se/docs/copyright.html\n"
    "jansson            MIT                           "
    "https://github.com/akheron/jansson\n"
    "OpenSSL            Apache 2.0                    https://www.openssl.org\n"
    "zlib               zlib                          https://zlib.net\n"
    "libxcrypt          LGPL 2.1                      "
    "https://github.com/besser82/libxcrypt\n"
    "GNU C library      LGPL 2.1                      https://www.gnu.org/software/libc\n"
    "\n"
    "Their full texts are in /usr/share/doc/<package>/copyright on Debian.\n";

/* The page may load what stands here and talk to this node, no more. */
#define POLICY                                                                           \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "          \
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

static void respond(struct http_exchange *x, const struct file *f)
{
    const char *known = http_header(&x->request, "If-None-Match");
    struct http_response r = {.status = 200, .content_type = f->type};
    struct buf body;
    char tag[16];

    snprintf(tag, sizeof tag, "\"%08x\"", crc32c(0, f->data, f->len));
    r.headers[r.n_headers++] = (struct http_header){"Content-Security-Policy", POLICY};
    r.headers[r.n_headers++] = (struct http_header){"X-Content-Type-Options", "nosniff"};
    r.headers[r.n_headers++] = (struct http_header){"Referrer-Policy", "no-referrer"};
    r.headers[r.n_headers++] = (struct http_header){"Cache-Control", "no-cache"};
    r.headers[r.n_headers++] = (struct http_header){"ETag", tag};
    buf_init(&body, 0);
    if (known && strcmp(known, tag) == 0) {
        r.status = 304;
        r.content_type = NULL;
    } else {
        buf_append(&body, f->data, f->len);
    }
    http_respond(x, &r, &body);
    buf_fini(&body);
}

static void move_to(struct http_exchange *x, int status, const char *word,
                    const char *location)
{
    bool get = x->request.method == HTTP_GET, head = x->request.method == HTTP_HEAD;
    struct http_response r = {.status = status,
                              .content_type =
                                  get || head ? "text/html; charset=utf-8" : NULL};
    struct buf body;

    r.headers[r.n_headers++] = (struct http_header){"Location", location};
    buf_init(&body, 0);
    if (get) buf_printf(&body, "<a href=\"%s\">%s</a>.\n\n", location, word);
    http_respond(x, &r, &body);
    buf_fini(&body);
}

/* "/", "" and "/console". */
void api_root(struct http_exchange *x, const struct params *p)
{
    (void)p;
    if (x->request.path_len > 1)
        move_to(x, 301, "Moved Permanently", "/console/");
    else
        move_to(x, 302, "Found", "/console/");
}

void api_console(struct http_exchange *x, const struct params *p)
{
    const char *path = x->request.path;

    (void)p;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(path, files[i].path) == 0) {
            respond(x, &files[i]);
            return;
        }
    }
    if (strcmp(path, "/console/index.html") == 0)
        move_to(x, 301, "Moved Permanently", "./");
    else
        http_respond_text(x, 404, "404 page not found");
}

void api_licenses(struct http_exchange *x, const struct params *p)
{
    const struct http_response r = {.status = 200, .content_type = API_TEXT};
    struct buf body;

    (void)p;
    buf_init(&body, 0);
    buf_append_str(&body, licences);
    http_respond(x, &r, &body);
    buf_fini(&body);
}
