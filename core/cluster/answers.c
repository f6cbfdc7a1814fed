/* SPDX-License-Identifier: MIT */
#include "core/cluster/answers.h"

#include <stdlib.h>

#include "core/base/rand.h"

enum { SERIAL_SHIFT = 24, REPEAT_SHIFT = 23 };

struct answers_session {
    uint64_t key;
    struct list recent;
    struct list entries; /* by serial, but for repeats that had never arrived */
    /* A repeat below this that is not in the table may have been run: it was dropped to
     * make room, or because nobody wants its answer any more, or it began before this
     * session was known here. */
    uint64_t known_from;
    uint64_t next; /* highest serial seen + 1 */
};

/* --- ids -------------------------------------------------------------------------- */

void answers_id_put(uint64_t out[2], const struct answers_id *id)
{
    uint64_t back = id->serial - id->oldest;

    CHECK(back <= ANSWERS_BACK_MAX);
    out[0] = id->session;
    out[1] = id->serial << SERIAL_SHIFT | (uint64_t)id->repeat << REPEAT_SHIFT | back;
}

bool answers_id_get(struct answers_id *out, const uint64_t in[2])
{
    uint64_t back = in[1] & ANSWERS_BACK_MAX;

    if (in[0] == 0 && in[1] == 0) return false;
    out->session = in[0];
    out->serial = in[1] >> SERIAL_SHIFT;
    out->repeat = (in[1] >> REPEAT_SHIFT & 1) != 0;
    out->oldest = back < out->serial ? out->serial - back : 0;
    return true;
}

/* --- the table -------------------------------------------------------------------- */

void answers_init(struct answers *a, void (*on_drop)(struct answers_entry *e))
{
    *a = (struct answers){.on_drop = on_drop};
    map_init(&a->sessions, rand_entropy());
    list_init(&a->recent);
    list_init(&a->order);
}

static bool answered(const struct answers_entry *e)
{
    return list_linked(&e->in_order);
}

void answers_remove(struct answers *a, struct answers_entry *e)
{
    if (e->session == NULL) return;
    if (answered(e)) {
        a->n_answered--;
        a->bytes -= e->bytes;
        list_remove(&e->in_order);
    }
    list_remove(&e->in_session);
    e->session = NULL;
}

static void drop(struct answers *a, struct answers_entry *e)
{
    bool told = answered(e);

    answers_remove(a, e);
    if (told) a->on_drop(e); /* else whoever carries it out still has it */
}

static void drop_session(struct answers *a, struct answers_session *s)
{
    while (!list_empty(&s->entries))
        drop(a, LIST_ITEM(s->entries.next, struct answers_entry, in_session));
    (void)map_remove(&a->sessions, &s->key, sizeof s->key);
    list_remove(&s->recent);
    a->n_sessions--;
    free(s);
}

void answers_fini(struct answers *a)
{
    while (!list_empty(&a->recent))
        drop_session(a, LIST_ITEM(a->recent.next, struct answers_session, recent));
    map_fini(&a->sessions);
}

/* One with a write under way stays: its repeat must find it. */
static bool busy(const struct answers_session *s)
{
    for (const struct list *l = s->entries.next; l != &s->entries; l = l->next)
        if (!answered(LIST_ITEM(l, struct answers_entry, in_session))) return true;
    return false;
}

static void limit_sessions(struct answers *a)
{
    struct list *l = a->recent.next;

    while (a->n_sessions > ANSWERS_SESSIONS_MAX && l != &a->recent) {
        struct answers_session *s = LIST_ITEM(l, struct answers_session, recent);

        l = l->next;
        if (!busy(s)) drop_session(a, s);
    }
}

static struct answers_session *add_session(struct answers *a, const struct answers_id *id)
{
    struct answers_session *s = calloc(1, sizeof *s);

    if (s == NULL) return NULL;
    s->key = id->session;
    s->known_from = id->serial;
    list_init(&s->entries);
    if (map_put(&a->sessions, &s->key, sizeof s->key, s, NULL) != ERR_OK) {
        free(s);
        return NULL;
    }
    list_push_back(&a->recent, &s->recent);
    a->n_sessions++;
    return s;
}

static struct answers_entry *find_entry(const struct answers_session *s, uint64_t serial)
{
    for (struct list *l = s->entries.prev; l != &s->entries; l = l->prev) {
        struct answers_entry *e = LIST_ITEM(l, struct answers_entry, in_session);

        if (e->serial == serial) return e;
    }
    return NULL;
}

static void drop_unwanted(struct answers *a, struct answers_session *s, uint64_t oldest)
{
    for (struct list *l = s->entries.next, *next; l != &s->entries; l = next) {
        struct answers_entry *e = LIST_ITEM(l, struct answers_entry, in_session);

        next = l->next;
        if (e->serial >= oldest) break;
        drop(a, e);
    }
    if (s->known_from < oldest) s->known_from = oldest;
}

enum err answers_find(struct answers *a, const struct answers_id *id,
                      enum answers_found *found, struct answers_entry **out)
{
    struct answers_session *s = map_get(&a->sessions, &id->session, sizeof id->session);

    *out = NULL;
    *found = ANSWERS_FORGOTTEN;
    if (s == NULL && id->repeat) return ERR_OK;
    if (s == NULL) s = add_session(a, id);
    if (s == NULL) return ERR_NOMEM;
    list_remove(&s->recent);
    list_push_back(&a->recent, &s->recent);
    drop_unwanted(a, s, id->oldest);
    if (id->repeat) *out = find_entry(s, id->serial);
    if (*out)
        *found = ANSWERS_KNOWN;
    else if (id->serial >= (id->repeat ? s->known_from : s->next))
        *found = ANSWERS_NEW;
    if (id->serial >= s->next) s->next = id->serial + 1;
    return ERR_OK;
}

void answers_add(struct answers *a, const struct answers_id *id, struct answers_entry *e)
{
    e->session = map_get(&a->sessions, &id->session, sizeof id->session);
    CHECK(e->session != NULL);
    e->serial = id->serial;
    e->bytes = 0;
    list_init(&e->in_order);
    list_push_back(&e->session->entries, &e->in_session);
    limit_sessions(a);
}

void answers_done(struct answers *a, struct answers_entry *e, size_t bytes)
{
    if (e->session == NULL) return;
    e->bytes = bytes;
    a->bytes += bytes;
    a->n_answered++;
    list_push_back(&a->order, &e->in_order);
    while (a->n_answered > ANSWERS_MAX || a->bytes > ANSWERS_BYTES_MAX) {
        struct answers_entry *oldest =
            LIST_ITEM(a->order.next, struct answers_entry, in_order);

        if (oldest->serial >= oldest->session->known_from)
            oldest->session->known_from = oldest->serial + 1;
        drop(a, oldest);
    }
}
