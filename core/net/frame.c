/* SPDX-License-Identifier: MIT */
/*
 * All numbers are little-endian.
 *
 *   preface   89 52 51 4c 4e 45 54 0a      "\x89RQLNET\n", as PNG does: not text, and
 *                                          damaged by whoever translates line ends
 *   header     0  u32  length of the body
 *              4  u8   kind
 *              5  u8   flags
 *              6  u8   service             CALL only
 *              7  u8   method
 *              8  u32  stream
 *             12  u32  CRC-32C of bytes 0-11 and the body, or 0
 *
 *   hello      0  u16  lowest version spoken
 *              2  u16  highest
 *              4  u8   class
 *              5  u8   0
 *              6  u64  cluster id
 *             14  u32  window of each stream, for what comes to the sender of this
 *             18  node id, address, software: each u16 length and bytes
 *
 *   call       0  u16  length of the metadata after these two bytes
 *              2  u8   1 = forwarded, 2 = user given, 4 = password given,
 *                  8 = by the node's own authority
 *              3  u64  nanoseconds left, 0 = no limit
 *             11  u64  call id, first half
 *             19  u64  second half
 *             27  user, password: each u16 length and bytes
 *                 then the message
 *   message   bytes of the message, or a part
 *   end       an Rqlite__Status from the callee, nothing from the caller
 *   goaway    an Rqlite__Status
 *   cancel    nothing
 *   window     0  u32  bytes
 *   ping, pong 0  8 bytes, repeated in the pong
 */
#include "core/net/frame.h"

#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"

const uint8_t frame_preface[FRAME_PREFACE_BYTES] = {0x89, 'R', 'Q', 'L',
                                                    'N',  'E', 'T', '\n'};

enum { META_FORWARDED = 1, META_USER = 2, META_PASSWORD = 4, META_NODE = 8 };

/* --- header ----------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    uint8_t flags;     /* that it may carry */
    bool on_stream;    /* else on the connection: stream 0 */
    uint32_t min, max; /* of the body */
} kinds[] = {
    [FRAME_HELLO] = {"hello", 0, false, 24, FRAME_BODY_MAX},
    [FRAME_CALL] = {"call", FRAME_MORE | FRAME_LAST | FRAME_MESSAGE_HERE, true, 31,
                    FRAME_BODY_MAX},
    [FRAME_MESSAGE] = {"message", FRAME_MORE | FRAME_LAST, true, 0, FRAME_BODY_MAX},
    [FRAME_END] = {"end", FRAME_NOT_RUN, true, 0, 4096},
    [FRAME_CANCEL] = {"cancel", 0, true, 0, 0},
    [FRAME_WINDOW] = {"window", 0, true, 4, 4},
    [FRAME_PING] = {"ping", 0, false, 8, 8},
    [FRAME_PONG] = {"pong", 0, false, 8, 8},
    [FRAME_GOAWAY] = {"goaway", FRAME_FATAL, false, 0, 4096},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *frame_kind_name(enum frame_kind kind)
{
    return (unsigned)kind < KINDS && kinds[kind].name ? kinds[kind].name : "unknown";
}

const char *net_class_name(enum net_class c)
{
    switch (c) {
    case NET_RAFT: return "raft";
    case NET_CALL: return "call";
    case NET_BULK: return "bulk";
    }
    return "unknown";
}

void frame_put(uint8_t out[FRAME_HEADER_BYTES], const struct frame *f)
{
    put_le32(out, f->length);
    out[4] = (uint8_t)f->kind;
    out[5] = f->flags;
    out[6] = f->service;
    out[7] = f->method;
    put_le32(out + 8, f->stream);
    put_le32(out + 12, f->crc);
}

uint32_t frame_crc_start(const uint8_t header[FRAME_HEADER_BYTES])
{
    return crc32c(0, header, 12);
}

enum err frame_get(struct frame *out, const uint8_t in[FRAME_HEADER_BYTES],
                   struct why *why)
{
    const struct kind *k;

    out->length = get_le32(in);
    if (in[4] == 0 || in[4] >= KINDS)
        return why_set(why, ERR_CORRUPT, "unknown kind of frame %u", in[4]);
    out->kind = (enum frame_kind)in[4];
    out->flags = in[5];
    out->service = in[6];
    out->method = in[7];
    out->stream = get_le32(in + 8);
    out->crc = get_le32(in + 12);

    k = &kinds[out->kind];
    if (out->length > FRAME_BODY_MAX)
        return why_set(why, ERR_TOO_BIG, "%s frame of %u bytes is over the limit of %d",
                       k->name, out->length, FRAME_BODY_MAX);
    if (out->length < k->min || out->length > k->max)
        return why_set(why, ERR_CORRUPT, "%s frame of %u bytes", k->name, out->length);
    if (out->flags & ~(k->flags | FRAME_CHECKED))
        return why_set(why, ERR_CORRUPT, "%s frame with flags 0x%02x", k->name,
                       out->flags);
    if ((out->flags & FRAME_MORE) && (out->flags & FRAME_LAST))
        return why_set(why, ERR_CORRUPT, "%s frame both cut short and last", k->name);
    if (out->kind == FRAME_CALL && (out->flags & FRAME_MORE) &&
        !(out->flags & FRAME_MESSAGE_HERE))
        return why_set(why, ERR_CORRUPT, "call frame with a part of no message");
    if ((out->stream != 0) != k->on_stream)
        return why_set(why, ERR_CORRUPT, "%s frame on stream %u", k->name, out->stream);
    if (out->kind != FRAME_CALL && (out->service != 0 || out->method != 0))
        return why_set(why, ERR_CORRUPT, "%s frame with a method", k->name);
    if (!(out->flags & FRAME_CHECKED) && out->crc != 0)
        return why_set(why, ERR_CORRUPT, "%s frame with a checksum but no flag for it",
                       k->name);
    return ERR_OK;
}

const char *frame_guess(const uint8_t *first, size_t len)
{
    static const char *const methods[] = {"GET ", "POST", "PUT ", "HEAD", "DELE",
                                          "OPTI", "PATC", "PRI ", "CONN", "TRAC"};

    if (len >= 4)
        for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
            if (memcmp(first, methods[i], 4) == 0) return "an HTTP request";
    if (len >= 4 && memcmp(first, "HTTP", 4) == 0) return "an HTTP server's answer";
    if (len >= 4 && memcmp(first, "SSH-", 4) == 0) return "an SSH greeting";
    if (len >= 2 && first[0] == 0x16 && first[1] == 0x03) return "a TLS handshake";
    if (len >= 2 && first[0] == 0x15 && first[1] == 0x03) return "a TLS alert";
    /* The reference's Raft port is told by its first byte which of its services is meant.
     */
    if (len >= 1 && (first[0] == 1 || first[0] == 2))
        return "perhaps a node of another implementation";
    return "bytes of no protocol known here";
}

/* --- hello ------------------------------------------------------------------------ */

static uint8_t *put_text(uint8_t *p, const char *s, size_t max)
{
    size_t len = strnlen(s, max);

    put_le16(p, (uint16_t)len);
    memcpy(p + 2, s, len);
    return p + 2 + len;
}

size_t frame_put_hello(uint8_t *out, const struct net_hello *h)
{
    uint8_t *p = out + 18;

    put_le16(out, h->version_min);
    put_le16(out + 2, h->version_max);
    out[4] = (uint8_t)h->class;
    out[5] = 0;
    put_le64(out + 6, h->cluster_id);
    put_le32(out + 14, h->window);
    p = put_text(p, h->node_id, FRAME_ID_MAX);
    p = put_text(p, h->address, FRAME_ADDR_MAX);
    p = put_text(p, h->software, FRAME_SOFTWARE_MAX);
    return (size_t)(p - out);
}

/* A text of at most max bytes, printable at least in that it has no control characters:
 * it goes into log lines and comparisons.  False if it is none. */
static bool get_text(struct reader *r, char *out, size_t max)
{
    size_t len = read_le16(r);
    const uint8_t *p;

    if (len > max) return false;
    p = read_bytes(r, len);
    if (p == NULL) return false;
    for (size_t i = 0; i < len; i++)
        if (p[i] < ' ' || p[i] == 0x7f) return false;
    if (len > 0) memcpy(out, p, len);
    out[len] = '\0';
    return true;
}

enum err frame_get_hello(struct net_hello *out, const void *body, size_t len,
                         struct why *why)
{
    struct reader r;
    unsigned class;

    memset(out, 0, sizeof *out);
    reader_init(&r, body, len);
    out->version_min = read_le16(&r);
    out->version_max = read_le16(&r);
    class = read_u8(&r);
    (void)read_u8(&r);
    out->cluster_id = read_le64(&r);
    out->window = read_le32(&r);
    if (!get_text(&r, out->node_id, FRAME_ID_MAX) ||
        !get_text(&r, out->address, FRAME_ADDR_MAX) ||
        !get_text(&r, out->software, FRAME_SOFTWARE_MAX))
        return why_set(why, ERR_CORRUPT, "malformed hello");
    if (class < NET_RAFT || class > NET_BULK)
        return why_set(why, ERR_CORRUPT, "hello with unknown class %u", class);
    if (out->version_min == 0 || out->version_min > out->version_max)
        return why_set(why, ERR_CORRUPT, "hello with versions %u to %u", out->version_min,
                       out->version_max);
    if (out->window == 0 || out->window > INT32_MAX)
        return why_set(why, ERR_CORRUPT, "hello with a window of %u bytes", out->window);
    out->class = (enum net_class) class;
    return ERR_OK;
}

/* --- metadata --------------------------------------------------------------------- */

enum err frame_meta_check(const struct net_meta *m, struct why *why)
{
    if (m->user && strlen(m->user) > FRAME_USER_MAX)
        return why_set(why, ERR_TOO_BIG, "user name is longer than %d bytes",
                       FRAME_USER_MAX);
    if (m->password && strlen(m->password) > FRAME_PASSWORD_MAX)
        return why_set(why, ERR_TOO_BIG, "password is longer than %d bytes",
                       FRAME_PASSWORD_MAX);
    return ERR_OK;
}

size_t frame_put_meta(uint8_t *out, const struct net_meta *m)
{
    uint8_t *p = out + 27;

    out[2] = (uint8_t)((m->forwarded ? META_FORWARDED : 0) | (m->user ? META_USER : 0) |
                       (m->password ? META_PASSWORD : 0) |
                       (m->node_authority ? META_NODE : 0));
    put_le64(out + 3, m->timeout_ns);
    put_le64(out + 11, m->call_id[0]);
    put_le64(out + 19, m->call_id[1]);
    p = put_text(p, m->user ? m->user : "", FRAME_USER_MAX);
    p = put_text(p, m->password ? m->password : "", FRAME_PASSWORD_MAX);
    put_le16(out, (uint16_t)(p - out - 2));
    return (size_t)(p - out);
}

/* False if it does not fit its block, is too long or has a zero byte, which would be two
 * texts for two readers. */
static bool get_secret(struct reader *r, struct arena *a, size_t max, bool given,
                       const char **out)
{
    size_t len = read_le16(r);
    const uint8_t *p;

    *out = NULL;
    if (len > max) return false;
    p = read_bytes(r, len);
    if (p == NULL || (len > 0 && memchr(p, 0, len) != NULL)) return false;
    if (given) *out = arena_strndup(a, (const char *)p, len);
    return true;
}

enum err frame_get_meta(struct net_meta *out, struct arena *a, const void *body,
                        size_t len, size_t *used, struct why *why)
{
    struct reader outer, r;
    const uint8_t *block;
    size_t block_len;
    uint8_t flags;

    memset(out, 0, sizeof *out);
    reader_init(&outer, body, len);
    block_len = read_le16(&outer);
    block = read_bytes(&outer, block_len);
    if (block == NULL) return why_set(why, ERR_CORRUPT, "call with cut metadata");
    *used = 2 + block_len;

    reader_init(&r, block, block_len);
    flags = read_u8(&r);
    out->forwarded = (flags & META_FORWARDED) != 0;
    out->node_authority = (flags & META_NODE) != 0;
    out->timeout_ns = read_le64(&r);
    out->call_id[0] = read_le64(&r);
    out->call_id[1] = read_le64(&r);
    if (!get_secret(&r, a, FRAME_USER_MAX, (flags & META_USER) != 0, &out->user) ||
        !get_secret(&r, a, FRAME_PASSWORD_MAX, (flags & META_PASSWORD) != 0,
                    &out->password))
        return why_set(why, ERR_CORRUPT, "call with malformed metadata");
    if (arena_failed(a)) return why_set(why, ERR_NOMEM, "out of memory for a call");
    return ERR_OK;
}
