/* SPDX-License-Identifier: MIT */
/*
 * address: the addresses of -join: "host:4002" of a Raft port, or "http(s)://host:4001"
 * of an HTTP port, as older guides have it (cluster.md 2.3).  Pure; any thread.
 */
#ifndef CORE_CLUSTER_ADDRESS_H
#define CORE_CLUSTER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

enum { ADDRESS_MAX = 261, ADDRESS_USER_MAX = 255, ADDRESS_URL_MAX = 600 };

struct address {
    bool http, https;         /* https: http, too */
    char at[ADDRESS_MAX + 1]; /* host:port */
    char user[ADDRESS_USER_MAX + 1], password[ADDRESS_USER_MAX + 1]; /* "" = none */
};

/* One item of the list; false if it is no address.  An http one may lack the port (4001)
 * and may end in a slash; its user info is decoded. */
bool address_parse(struct address *out, const char *item, size_t len);

/* "http://host:4001", without user info; or at of a Raft address. */
void address_text(const struct address *a, char out[ADDRESS_URL_MAX]);

#endif
