/* SPDX-License-Identifier: MIT */
#include "core/server/status.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/doc.h"
#include "core/server/extensions.h"
#include "core/server/options.h"
#include "core/server/about.h"

void status_init(struct status_source *s)
{
    s->started_wall_ns = clock_wall_ns(clock_real());
    s->started_mono_ns = clock_mono_ns(clock_real());
    atomic_init(&s->open, false);
}

static void add_build(struct doc *root)
{
    struct doc *d = doc_add_object(root, "build");

    doc_add_text(d, "build_time",
                 "unknown"); /* so that equal sources give equal binaries */
    doc_add_text(d, "commit", about_commit());
    doc_add_text(d, "compiler_command", ABOUT_COMPILER);
    doc_add_text(d, "compiler_toolchain", ABOUT_COMPILER);
    doc_add_text(d, "version", about_version());
}

static void add_node(const struct status_source *s, struct doc *root)
{
    struct doc *d = doc_add_object(root, "node");

    doc_add_time(d, "current_time", clock_wall_ns(clock_real()));
    doc_add_time(d, "start_time", s->started_wall_ns);
    doc_add_duration(d, "uptime",
                     (int64_t)(clock_mono_ns(clock_real()) - s->started_mono_ns));
}

static void add_os(struct doc *root)
{
    struct doc *d = doc_add_object(root, "os");
    char text[4096];
    ssize_t n = readlink("/proc/self/exe", text, sizeof text);

    doc_add_textn(d, "executable", text, n < 0 ? 0 : (size_t)n);
    if (gethostname(text, sizeof text) != 0) *text = '\0';
    doc_add_text(d, "hostname", text);
    doc_add_int(d, "page_size", sysconf(_SC_PAGESIZE));
    doc_add_int(d, "pid", getpid());
    doc_add_int(d, "ppid", getppid());
}

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = 0;

    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));)
        if (*e->d_name != '.') n++;
    closedir(dir);
    return n;
}

static void add_runtime(struct doc *root)
{
    struct doc *d = doc_add_object(root, "runtime");
    cpu_set_t set;
    int usable = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    doc_add_text(d, "GOARCH", about_architecture());
    doc_add_int(d, "GOMAXPROCS", usable);
    doc_add_text(d, "GOOS", "linux");
    doc_add_bool(d, "kubernetes_hint", getenv("KUBERNETES_SERVICE_HOST") != NULL);
    doc_add_int(d, "num_cpu", usable);
    doc_add_int(d, "num_goroutine", count_threads());
    doc_add_text(d, "version", about_toolchain());
}

static void add_extensions(const struct extensions *x, struct doc *root)
{
    struct doc *d = doc_add_object(root, "extensions"), *names;

    doc_add_text(d, "dir", x->dir ? x->dir : "");
    names = doc_add_array(d, "names");
    for (size_t i = 0; i < x->n; i++) {
        const char *slash = strrchr(x->paths[i], '/');

        doc_add_text(names, NULL, slash ? slash + 1 : x->paths[i]);
    }
}

/* --- network interfaces ----------------------------------------------------------- */

static unsigned prefix_bits(const void *mask, size_t len)
{
    const unsigned char *p = mask;
    unsigned n = 0;

    for (size_t i = 0; i < len; i++) n += (unsigned)__builtin_popcount(p[i]);
    return n;
}

static void add_address(struct doc *list, const struct ifaddrs *a)
{
    char host[INET6_ADDRSTRLEN];
    const void *addr, *mask;
    size_t len;

    if (a->ifa_addr->sa_family == AF_INET) {
        addr = &((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr;
        mask = &((const struct sockaddr_in *)(const void *)a->ifa_netmask)->sin_addr;
        len = 4;
    } else {
        addr = &((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr;
        mask = &((const struct sockaddr_in6 *)(const void *)a->ifa_netmask)->sin6_addr;
        len = 16;
    }
    if (!inet_ntop(a->ifa_addr->sa_family, addr, host, sizeof host)) return;
    doc_addf(doc_add_object(list, NULL), "address", "%s/%u", host,
             prefix_bits(mask, len));
}

static bool is_ip(const struct ifaddrs *a)
{
    return a->ifa_addr && a->ifa_netmask &&
           (a->ifa_addr->sa_family == AF_INET || a->ifa_addr->sa_family == AF_INET6);
}

/* Each interface has one entry of the link layer. */
static void add_interface(struct doc *all, const struct ifaddrs *list,
                          const struct ifaddrs *link)
{
    const struct sockaddr_ll *ll =
        (const struct sockaddr_ll *)(const void *)link->ifa_addr;
    struct doc *d = doc_add_object(all, link->ifa_name), *addresses = NULL;
    char text[64] = "";
    size_t n = 0;

    for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
        if (!is_ip(a) || strcmp(a->ifa_name, link->ifa_name) != 0) continue;
        if (!addresses) addresses = doc_add_array(d, "addresses");
        add_address(addresses, a);
    }
    if (!addresses) doc_add_null(d, "addresses");
    snprintf(text, sizeof text, "%s%s%s", link->ifa_flags & IFF_UP ? "|up" : "",
             link->ifa_flags & IFF_BROADCAST ? "|broadcast" : "",
             link->ifa_flags & IFF_RUNNING ? "|running" : "");
    doc_add_text(d, "flags", *text ? text + 1 : text);
    *text = '\0';
    if (!(link->ifa_flags & IFF_LOOPBACK))
        for (size_t i = 0; i < ll->sll_halen && i < sizeof ll->sll_addr; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%02x", i ? ":" : "",
                                  ll->sll_addr[i]);
    doc_add_text(d, "hardware_address", text);
}

static void add_network(struct doc *root)
{
    struct doc *all = doc_add_object(doc_add_object(root, "network"), "interfaces");
    struct ifaddrs *list;

    if (getifaddrs(&list) != 0) return;
    for (const struct ifaddrs *a = list; a; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_PACKET)
            add_interface(all, list, a);
    freeifaddrs(list);
}

/* ---------------------------------------------------------------------------------- */

void status_add(void *source, struct doc *root)
{
    struct status_source *s = source;
    struct doc *d;

    add_build(root);
    add_node(s, root);
    add_os(root);
    add_runtime(root);
    if (!atomic_load(&s->open)) return;
    d = doc_add_object(root, "cluster");
    doc_add_text(d, "addr", s->opt->raft_adv_addr);
    doc_add_text(d, "api_addr", s->opt->http_adv_addr);
    doc_add_text(d, "https", *s->opt->http_cert ? "true" : "false");
    add_extensions(s->extensions, root);
    d = doc_add_object(root, "mux");
    doc_add_text(d, "addr", s->raft_bound);
    doc_add_text(d, "handlers", "3"); /* Raft, calls, bulk */
    doc_add_duration(d, "timeout", s->opt->cluster_connect_timeout_ns);
    doc_add_text(d, "tls", *s->opt->node_cert ? "enabled" : "disabled");
    add_network(root);
}
