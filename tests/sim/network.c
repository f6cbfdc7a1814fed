/* SPDX-License-Identifier: MIT */
/*
 * Messages and snapshot streams.  Everything crosses as the bytes of the wire.
 */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/io.h"
#include "core/base/pb.h"
#include "core/node/raft_wire.h"
#include "tests/sim/sim.h"

/* --- messages ------------------------------------------------------------------ */

struct parcel {
    struct host *from, *to;
    size_t len;
    uint8_t bytes[];
};

static const char *const type_names[] = {[RAFT_MSG_PRE_VOTE] = "pre-vote",
                                         [RAFT_MSG_PRE_VOTE_REPLY] = "pre-vote reply",
                                         [RAFT_MSG_VOTE] = "vote",
                                         [RAFT_MSG_VOTE_REPLY] = "vote reply",
                                         [RAFT_MSG_APPEND] = "append",
                                         [RAFT_MSG_APPEND_REPLY] = "append reply",
                                         [RAFT_MSG_SNAPSHOT] = "snapshot",
                                         [RAFT_MSG_SNAPSHOT_REPLY] = "snapshot reply",
                                         [RAFT_MSG_TIMEOUT_NOW] = "timeout now"};

static void free_parcel(struct event *e)
{
    free(e->arg);
}

static void say_message(struct host *h, const char *what, const struct raft_message *m)
{
    sim_say(
        h->w, 2, h,
        "%s %s->%s %s term=%" PRIu64 " prev=%" PRIu64 "/%" PRIu64 " n=%zu commit=%" PRIu64
        " %s match=%" PRIu64 " last=%" PRIu64 "/%" PRIu64 " read=%" PRIu64,
        what, m->from, m->to, type_names[m->type], m->term, m->prev_index, m->prev_term,
        m->n_entries, m->commit, m->granted || m->accepted ? "yes" : "no", m->match,
        m->last_index, m->last_term, m->read);
}

static void step(struct host *h, const struct raft_message *m, int from)
{
    if (m->type == RAFT_MSG_PRE_VOTE_REPLY && m->granted) {
        h->grants[h->n_grants % GRANTS].term = m->term;
        h->grants[h->n_grants++ % GRANTS].from = from;
    }
    say_message(h, "gets", m);
    h->told = m->type == RAFT_MSG_TIMEOUT_NOW;
    member_message(h->member, m, host_now_ms(h));
    h->told = false;
    host_turn_end_soon(h);
}

static void arrive(struct sim *w, struct event *e)
{
    struct parcel *p = e->arg;
    Rqlite__RaftMessage *packed;
    struct raft_message m;
    struct arena a;
    struct why why = {0};
    enum err err;

    if (!p->to->up || w->cut[p->from->number - 1][p->to->number - 1]) {
        free(p);
        return;
    }
    if (p->to->paused_until > w->now) { /* in its socket */
        sim_post(w, p->to->paused_until - w->now, *e);
        return;
    }
    arena_init(&a, 0);
    err =
        pb_unpack(&packed, &rqlite__raft_message__descriptor, &a, p->bytes, p->len, &why);
    if (!err) err = raft_wire_decode(&m, &a, packed, &why);
    if (err) {
        sim_violated(w, "a message of %s does not decode: %s", p->from->id, why.text);
    } else {
        w->stats.messages++;
        step(p->to, &m, p->from->number);
        raft_wire_release(&m);
    }
    arena_fini(&a);
    free(p);
}

void network_send(struct host *from, const struct raft_message *m)
{
    struct sim *w = from->w;
    struct host *to = host_find(w, m->to);
    struct evbuffer *b;
    struct parcel *p;
    size_t len;
    int copies = 1 + sim_chance(w, w->c.duplicate);

    if (!from->up || faulty_dead(from->disk)) return; /* no power, no message */
    if (to == NULL || to == from) {
        sim_violated(w, "%s sends to %s", from->id, m->to);
        return;
    }
    say_message(from, "sends", m);
    if (w->cut[from->number - 1][to->number - 1] || sim_chance(w, w->c.loss)) return;
    b = evbuffer_new();
    CHECK(b != NULL && raft_wire_encode(b, m));
    len = evbuffer_get_length(b);
    for (int i = 0; i < copies; i++) {
        uint64_t delay = 50 + sim_below(w, w->c.delay_us + 1);

        if (!w->story && sim_chance(w, 10)) delay *= 10;
        p = malloc(sizeof *p + len);
        CHECK(p != NULL);
        *p = (struct parcel){from, to, len};
        CHECK(evbuffer_copyout(b, p->bytes, len) == (ssize_t)len);
        sim_post(w, delay, (struct event){.run = arrive, .drop = free_parcel, .arg = p});
    }
    evbuffer_free(b);
}

/* --- snapshot streams ---------------------------------------------------------- */

struct stream {
    struct stream *next;
    struct host *from, *to;
    uint64_t from_life, to_life;
    struct image_out *out; /* while sending */
    struct image_in *in;   /* NULL: not begun, complete, or over */
    bool begun, answered, sending, complete;
    uint64_t index;
};

static bool from_lives(const struct stream *s)
{
    return s->from->up && s->from->life == s->from_life;
}

static bool to_lives(const struct stream *s)
{
    return s->to->up && s->to->life == s->to_life;
}

/* The sender learns how it ended. */
static void tell_sender(struct sim *w, struct event *e)
{
    struct stream *s = e->arg;
    bool ok = e->number;

    (void)w;
    if (!s->sending || !from_lives(s)) return;
    s->sending = false;
    image_out_close(s->from->images, s->out, !ok && s->answered);
    images_sent(s->from->images, s->to->id, s->index, ok);
    host_turn_end(s->from);
}

static void end_stream(struct sim *w, struct stream *s, bool ok)
{
    if (s->in && to_lives(s)) image_in_abort(s->in);
    s->in = NULL;
    sim_post(w, sim_below(w, w->c.delay_us),
             (struct event){.run = tell_sender, .arg = s, .number = ok});
}

/* What was sent as bytes, given to the receiver as a message. */
static enum err deliver(struct stream *s, const Rqlite__SnapshotChunk *m, struct why *why)
{
    struct blob *bytes = pb_pack(&m->base, 0);
    Rqlite__SnapshotChunk *copy;
    struct arena a;
    enum err e;

    CHECK(bytes != NULL);
    arena_init(&a, 0);
    e = pb_unpack(&copy, &rqlite__snapshot_chunk__descriptor, &a, bytes->data, bytes->len,
                  why);
    if (!e) e = image_in_message(s->in, copy, why);
    arena_fini(&a);
    blob_unref(bytes);
    return e;
}

/* The header, and what the receiver says to it. */
static enum err begin(struct sim *w, struct stream *s, struct why *why)
{
    Rqlite__SnapshotReply answer;
    enum err e = images_receive(s->to->images, &s->in, s, why);

    s->begun = true;
    if (!e) e = deliver(s, image_out_header(s->out), why);
    if (e) return e;
    image_in_answer(s->in, &answer);
    if (answer.pages > 0) {
        w->stats.resumed++;
        sim_say(w, 0, s->to, "goes on after page %" PRIu32, answer.pages);
    }
    s->answered = true;
    return image_out_answer(s->out, &answer, why);
}

static enum err go_on(struct stream *s, struct why *why)
{
    const Rqlite__SnapshotChunk *m;
    enum err e = image_out_next(s->out, &m, why);

    if (e) return e;
    if (m) return deliver(s, m, why);
    e = image_in_end(s->in, why);
    if (e) return e;
    s->in = NULL;
    s->complete = true; /* network_received() goes on */
    return ERR_OK;
}

static void next_piece(struct sim *w, struct event *e)
{
    struct stream *s = e->arg;
    struct why why = {0};
    enum err err;
    bool broken = w->cut[s->from->number - 1][s->to->number - 1] ||
                  w->cut[s->to->number - 1][s->from->number - 1] ||
                  (!w->calm && sim_chance(w, w->c.stream_cut));

    if (!s->begun && s->to->up) s->to_life = s->to->life;
    if (!from_lives(s) || !to_lives(s) || broken) {
        end_stream(w, s, false);
        return;
    }
    if (s->from->paused_until > w->now || s->to->paused_until > w->now) {
        sim_post(w, 5 * MS, *e);
        return;
    }
    err = s->begun ? go_on(s, &why) : begin(w, s, &why);
    if (err) {
        sim_say(w, 0, s->to, "stream from %s broken: %s", s->from->id, why.text);
        end_stream(w, s, false);
        return;
    }
    if (s->complete) return;
    sim_post(w, 50 + sim_below(w, w->c.delay_us / 4 + 1),
             (struct event){.run = next_piece, .arg = s});
}

enum err network_stream(struct host *from, const char *peer, uint64_t min_index,
                        struct why *why)
{
    struct sim *w = from->w;
    struct stream *s = calloc(1, sizeof *s);
    enum err e;

    CHECK(s != NULL);
    e = image_out_open(from->images, &s->out, min_index, why);
    if (e) {
        free(s);
        return e;
    }
    s->from = from;
    s->to = host_find(w, peer);
    CHECK(s->to != NULL);
    s->from_life = from->life;
    s->index = image_out_index(s->out);
    s->sending = true;
    s->next = w->streams;
    w->streams = s;
    sim_say(w, 0, from, "streams its snapshot at %" PRIu64 " to %s", s->index, peer);
    sim_post(w, 50 + sim_below(w, w->c.delay_us),
             (struct event){.run = next_piece, .arg = s});
    return ERR_OK;
}

void network_received(struct host *to, void *user, const struct why *why)
{
    end_stream(to->w, user, why->code == ERR_OK);
}

/* Whoever goes closes what it has; the other end notices with the next piece. */
void network_host_ended(struct host *h)
{
    for (struct stream *s = h->w->streams; s; s = s->next) {
        if (s->sending && s->from == h && s->from_life == h->life) {
            s->sending = false;
            image_out_close(h->images, s->out, false);
        }
        if (s->begun && s->to == h && s->to_life == h->life) {
            s->in = NULL; /* images_free() ends it */
            if (s->complete) end_stream(h->w, s, false);
            s->complete = false;
        }
    }
}

void network_free(struct sim *w)
{
    for (struct stream *s = w->streams, *next; s; s = next) {
        next = s->next;
        free(s);
    }
}
