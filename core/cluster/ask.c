/* SPDX-License-Identifier: MIT */
#include "core/cluster/ask.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/list.h"
#include "core/net/client.h"
#include "core/node/node.h"

#define NS_PER_S UINT64_C(1000000000)

enum { JOIN_S = 1, NOTIFY_S = 5, REMOVE_S = 5 }; /* for the answer, once connected */

/*
 * One question.  It lives on the asking thread's stack and belongs to the node thread
 * from the first mail until the signal:
 *
 *   asking thread:   post start ........ wait ............ (post give_up) ... woken
 *   node thread:     dial, call, answer, post end -> free the channel, signal
 *
 * The end is a mail of its own, since a channel cannot be freed in its own callback.
 */
struct question {
    const struct asker *a;
    const char *addr;
    unsigned method;
    const ProtobufCMessage *message;
    unsigned answer_s;

    struct mail start, give_up, end;
    struct net_channel *channel;
    struct net_request *request;
    bool ending; /* node thread */
    int fd;      /* counts the mails that the node thread is done with */

    struct why why; /* result, as the rest */
    struct net_hello who;
    char leader_addr[ASK_ADDR_MAX];
};

static void signal_done(struct question *q)
{
    uint64_t one = 1;
    ssize_t n = write(q->fd, &one, sizeof one);

    CHECK(n == sizeof one);
}

static void deliver_end(struct mail *m, void *node)
{
    struct question *q = LIST_ITEM(m, struct question, end);

    (void)node;
    if (q->request) net_request_cancel(q->request);
    net_channel_free(q->channel);
    signal_done(q);
}

static void end(struct question *q)
{
    if (q->ending) return;
    q->ending = true;
    (void)node_post(q->a->node, &q->end, deliver_end); /* it is open: see ask.h */
}

static void fail(struct question *q, const struct why *why)
{
    if (!q->ending) q->why = *why;
    end(q);
}

static void on_done(struct net_request *r, const struct net_result *result)
{
    struct question *q = net_request_user(r);
    const Rqlite__JoinReply *reply = (const void *)result->reply;

    q->request = NULL;
    if (result->why.code) {
        fail(q, &result->why);
        return;
    }
    if (q->method == NET_CLUSTER_JOIN && reply->leader_addr[0]) {
        snprintf(q->leader_addr, sizeof q->leader_addr, "%s", reply->leader_addr);
        (void)why_set(&q->why, ERR_NOT_LEADER, "not leader");
    }
    end(q);
}

static const struct net_request_events events = {.on_done = on_done};

static void on_state(void *arg, bool up, const struct why *why)
{
    struct question *q = arg;
    struct net_request_options o = {.service = &net_service_cluster,
                                    .method = q->method,
                                    .message = q->message,
                                    .meta = {.user = q->a->user,
                                             .password = q->a->password,
                                             .timeout_ns = q->answer_s * NS_PER_S},
                                    .events = &events,
                                    .user = q};
    struct why failure = {0};

    if (q->ending || q->request) return; /* a request reports the end itself */
    if (!up) {
        fail(q, why);
        return;
    }
    q->who = net_channel_peer(q->channel)->hello;
    if (net_request_start(&q->request, q->channel, &o, &failure) != ERR_OK) {
        q->request = NULL;
        fail(q, &failure);
    }
}

static void deliver_start(struct mail *m, void *node)
{
    struct question *q = LIST_ITEM(m, struct question, start);
    struct net_channel_options o = {.address = q->addr,
                                    .class = NET_CALL,
                                    .connect_ms = q->a->connect_ms,
                                    .on_state = on_state,
                                    .arg = q};
    struct why why = {0};

    if (net_channel_new(&q->channel, node_net(node), &o, &why) == ERR_OK) {
        net_channel_connect(q->channel);
    } else {
        q->channel = NULL;
        fail(q, &why);
    }
}

static void deliver_give_up(struct mail *m, void *node)
{
    struct question *q = LIST_ITEM(m, struct question, give_up);
    struct why why;

    (void)node;
    (void)why_set(&why, ERR_CANCELLED, "canceled");
    fail(q, &why);
    signal_done(q);
}

/* Until the end has been signalled, and give_up, if that was posted: the node thread does
 * not look at q any more then. */
static void wait_for_end(struct question *q)
{
    struct pollfd fds[] = {{.fd = q->fd, .events = POLLIN},
                           {.fd = q->a->cancel_fd, .events = POLLIN}};
    uint64_t due = 1, seen = 0, n;

    while (seen < due) {
        if (poll(fds, due == 1 ? 2 : 1, -1) < 0) continue;
        if (fds[0].revents && read(q->fd, &n, sizeof n) == sizeof n) seen += n;
        if (seen == 0 && due == 1 && fds[1].revents &&
            node_post(q->a->node, &q->give_up, deliver_give_up))
            due = 2;
    }
}

static enum err ask(const struct asker *a, const char *addr, unsigned method,
                    unsigned answer_s, const ProtobufCMessage *message,
                    struct question *q)
{
    memset(q, 0, sizeof *q);
    q->a = a;
    q->addr = addr;
    q->method = method;
    q->answer_s = answer_s;
    q->message = message;
    if (node_net(a->node) == NULL)
        return why_set(&q->why, ERR_UNSUPPORTED, "this node talks to nobody");
    q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->fd < 0) return why_errno(&q->why, "make an event descriptor");
    if (node_post(a->node, &q->start, deliver_start))
        wait_for_end(q);
    else
        (void)why_set(&q->why, ERR_CLOSED, "store not open");
    close(q->fd);
    return q->why.code;
}

static enum err give(struct why *why, const struct question *q)
{
    if (why) *why = q->why;
    return q->why.code;
}

enum err ask_join(const struct asker *a, const char *addr, const Rqlite__JoinRequest *m,
                  char leader_addr[ASK_ADDR_MAX], struct why *why)
{
    struct question q;

    (void)!ask(a, addr, NET_CLUSTER_JOIN, JOIN_S, &m->base, &q);
    memcpy(leader_addr, q.leader_addr, ASK_ADDR_MAX);
    return give(why, &q);
}

enum err ask_notify(const struct asker *a, const char *addr,
                    const Rqlite__NotifyRequest *m, struct net_hello *who,
                    struct why *why)
{
    struct question q;

    (void)!ask(a, addr, NET_CLUSTER_NOTIFY, NOTIFY_S, &m->base, &q);
    if (who) *who = q.who;
    return give(why, &q);
}

enum err ask_remove(const struct asker *a, const char *addr,
                    const Rqlite__RemoveRequest *m, struct why *why)
{
    struct question q;

    (void)!ask(a, addr, NET_CLUSTER_REMOVE, REMOVE_S, &m->base, &q);
    return give(why, &q);
}
