/* SPDX-License-Identifier: MIT */
#include "core/net/status.h"

#include <string.h>

#include "core/base/pb.h"
#include "proto/command.pb-c.h"

struct meaning {
    const char *symbol; /* on the wire */
    enum net_status status;
};

/* The one place where our codes meet gRPC's.  UNAVAILABLE says that the call may be tried
 * again, here or elsewhere; an outcome that nobody knows is UNKNOWN, never that. */
static struct meaning meaning_of(enum err e)
{
    switch (e) {
    case ERR_OK: return (struct meaning){"OK", NET_STATUS_OK};
    case ERR_NOMEM: return (struct meaning){"NOMEM", NET_STATUS_RESOURCE_EXHAUSTED};
    case ERR_IO: return (struct meaning){"IO", NET_STATUS_INTERNAL};
    case ERR_NO_SPACE: return (struct meaning){"NO_SPACE", NET_STATUS_RESOURCE_EXHAUSTED};
    case ERR_CORRUPT: return (struct meaning){"CORRUPT", NET_STATUS_DATA_LOSS};
    case ERR_INVALID: return (struct meaning){"INVALID", NET_STATUS_INVALID_ARGUMENT};
    case ERR_TOO_BIG: return (struct meaning){"TOO_BIG", NET_STATUS_RESOURCE_EXHAUSTED};
    case ERR_NOT_FOUND: return (struct meaning){"NOT_FOUND", NET_STATUS_NOT_FOUND};
    case ERR_EXISTS: return (struct meaning){"EXISTS", NET_STATUS_ALREADY_EXISTS};
    case ERR_BUSY: return (struct meaning){"BUSY", NET_STATUS_RESOURCE_EXHAUSTED};
    case ERR_TIMEOUT: return (struct meaning){"TIMEOUT", NET_STATUS_DEADLINE_EXCEEDED};
    case ERR_CANCELLED: return (struct meaning){"CANCELLED", NET_STATUS_CANCELLED};
    case ERR_CLOSED: return (struct meaning){"CLOSED", NET_STATUS_UNAVAILABLE};
    case ERR_NOT_LEADER:
        return (struct meaning){"NOT_LEADER", NET_STATUS_FAILED_PRECONDITION};
    case ERR_NO_LEADER: return (struct meaning){"NO_LEADER", NET_STATUS_UNAVAILABLE};
    case ERR_LEADERSHIP_LOST:
        return (struct meaning){"LEADERSHIP_LOST", NET_STATUS_UNKNOWN};
    case ERR_TRANSFER: return (struct meaning){"TRANSFER", NET_STATUS_UNAVAILABLE};
    case ERR_NOT_READY: return (struct meaning){"NOT_READY", NET_STATUS_UNAVAILABLE};
    case ERR_NOT_OPEN: return (struct meaning){"NOT_OPEN", NET_STATUS_UNAVAILABLE};
    case ERR_STALE: return (struct meaning){"STALE", NET_STATUS_FAILED_PRECONDITION};
    case ERR_UNAUTHORIZED:
        return (struct meaning){"UNAUTHORIZED", NET_STATUS_UNAUTHENTICATED};
    case ERR_UNREACHABLE: return (struct meaning){"UNREACHABLE", NET_STATUS_UNAVAILABLE};
    case ERR_NOTHING: return (struct meaning){"NOTHING", NET_STATUS_FAILED_PRECONDITION};
    case ERR_UNSUPPORTED:
        return (struct meaning){"UNSUPPORTED", NET_STATUS_UNIMPLEMENTED};
    case ERR_SQL: return (struct meaning){"SQL", NET_STATUS_INVALID_ARGUMENT};
    case ERR_CONFLICT: return (struct meaning){"CONFLICT", NET_STATUS_INVALID_ARGUMENT};
    case ERR_COUNT: break;
    }
    return (struct meaning){"UNKNOWN", NET_STATUS_UNKNOWN};
}

/* For a status that came without a symbol we know: from another implementation, or a
 * later version of this one. */
static enum err nearest(int32_t status)
{
    switch (status) {
    case NET_STATUS_OK: return ERR_OK;
    case NET_STATUS_CANCELLED: return ERR_CANCELLED;
    case NET_STATUS_INVALID_ARGUMENT:
    case NET_STATUS_OUT_OF_RANGE:
    case NET_STATUS_FAILED_PRECONDITION: return ERR_INVALID;
    case NET_STATUS_DEADLINE_EXCEEDED: return ERR_TIMEOUT;
    case NET_STATUS_NOT_FOUND: return ERR_NOT_FOUND;
    case NET_STATUS_ALREADY_EXISTS: return ERR_EXISTS;
    case NET_STATUS_PERMISSION_DENIED:
    case NET_STATUS_UNAUTHENTICATED: return ERR_UNAUTHORIZED;
    case NET_STATUS_RESOURCE_EXHAUSTED: return ERR_BUSY;
    case NET_STATUS_UNIMPLEMENTED: return ERR_UNSUPPORTED;
    case NET_STATUS_UNAVAILABLE: return ERR_UNREACHABLE;
    case NET_STATUS_DATA_LOSS: return ERR_CORRUPT;
    default: return ERR_IO; /* unknown, aborted, internal */
    }
}

enum net_status net_status_of(enum err e)
{
    return meaning_of(e).status;
}

const char *net_err_symbol(enum err e)
{
    return meaning_of(e).symbol;
}

const char *net_status_name(enum net_status s)
{
    switch (s) {
    case NET_STATUS_OK: return "OK";
    case NET_STATUS_CANCELLED: return "CANCELLED";
    case NET_STATUS_UNKNOWN: return "UNKNOWN";
    case NET_STATUS_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case NET_STATUS_DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case NET_STATUS_NOT_FOUND: return "NOT_FOUND";
    case NET_STATUS_ALREADY_EXISTS: return "ALREADY_EXISTS";
    case NET_STATUS_PERMISSION_DENIED: return "PERMISSION_DENIED";
    case NET_STATUS_RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case NET_STATUS_FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case NET_STATUS_ABORTED: return "ABORTED";
    case NET_STATUS_OUT_OF_RANGE: return "OUT_OF_RANGE";
    case NET_STATUS_UNIMPLEMENTED: return "UNIMPLEMENTED";
    case NET_STATUS_INTERNAL: return "INTERNAL";
    case NET_STATUS_UNAVAILABLE: return "UNAVAILABLE";
    case NET_STATUS_DATA_LOSS: return "DATA_LOSS";
    case NET_STATUS_UNAUTHENTICATED: return "UNAUTHENTICATED";
    }
    return "UNKNOWN";
}

enum err net_err_of(int32_t status, const char *symbol, size_t symbol_len)
{
    for (int e = ERR_OK + 1; e < ERR_COUNT && status != NET_STATUS_OK; e++) {
        const char *known = net_err_symbol((enum err)e);

        if (strlen(known) == symbol_len && memcmp(known, symbol, symbol_len) == 0)
            return (enum err)e;
    }
    return nearest(status);
}

size_t net_status_put(uint8_t out[NET_STATUS_ROOM], enum err code, const char *text)
{
    Rqlite__Status s = RQLITE__STATUS__INIT;
    char reason[32]; /* protobuf-c's texts are not const */
    struct why cut;

    why_set(&cut, code, "%s", text ? text : code ? err_name(code) : "");
    strcpy(reason, net_err_symbol(code));
    s.code = (int32_t)net_status_of(code);
    s.reason = reason;
    s.text = cut.text;
    return rqlite__status__pack(&s, out);
}

enum err net_status_get(struct why *said, const void *body, size_t len, struct why *why)
{
    Rqlite__Status *s;
    struct arena a;
    enum err e, code;

    arena_init(&a, 64 << 10);
    e = pb_unpack(&s, &rqlite__status__descriptor, &a, body, len, why);
    if (!e) {
        code = net_err_of(s->code, s->reason, strlen(s->reason));
        why_set(said, code, "%s", s->text[0] ? s->text : err_name(code));
    }
    arena_fini(&a);
    return e;
}
