/* SPDX-License-Identifier: MIT */
/*
 * Stories: a few verbs make a cluster do something, and what it said is kept below a line
 * of dashes.  Verbs are separated by commas or ends of lines:
 *
 *     cluster N [M]       N voters and M non-voters
 *     elect N [only]      N's clock hurries until it leads; only: look no further
 *     write N [KEY]       a client writes at N, and waits; KEY is x, y, z or w
 *     read N LEVEL [KEY]  a client reads at N, and waits
 *     begin write ... , begin read ...    the same without waiting
 *     cut A B | C         nothing passes between the two sides; cut A > B: one way
 *     heal
 *     crash N, kill N, stop N, start N    power, process, SIGTERM; N or all
 *     pause N MS          SIGSTOP
 *     hold N, free N      N's log is written and synced no more, or again
 *     die N COUNT         N's power goes in its COUNT-th disk operation from now
 *     snapshot N [T]      take one, keep T entries before it
 *     add N [non-voter], remove N, transfer N    asked of the leader
 *     wait MS
 *     show N              what N thinks
 *     agree               until all members have everything; compares the databases
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { WORDS_MAX = 16, STEP_MS = 5000 };

struct story {
    struct sim *w;
    char *words[WORDS_MAX];
    size_t n;
    int client; /* the next begun in the background is the one after */
    bool bad;
};

static void complain(struct story *s, const char *what)
{
    sim_say(s->w, 0, NULL, "?? %s: %s", s->n ? s->words[0] : "", what);
    s->bad = true;
}

static const char *word(const struct story *s, size_t i)
{
    return i < s->n ? s->words[i] : "";
}

static struct host *host_named(struct story *s, const char *id)
{
    struct host *h = host_find(s->w, id);

    if (h == NULL) complain(s, "no such node");
    return h;
}

static struct host *host_up(struct story *s, const char *id)
{
    struct host *h = host_named(s, id);

    if (h && !h->up) complain(s, "it is down");
    return h && h->up ? h : NULL;
}

static void pass(struct story *s, uint64_t ms)
{
    sim_run_until(s->w, s->w->now + ms * MS);
}

/* --- verbs --------------------------------------------------------------------- */

static void verb_cluster(struct story *s)
{
    struct sim *w = s->w;

    w->c.voters = (uint32_t)strtoul(word(s, 1), NULL, 10);
    w->c.non_voters = (uint32_t)strtoul(word(s, 2), NULL, 10);
    for (uint32_t i = 0; i < w->c.voters + w->c.non_voters && i < HOSTS; i++) {
        w->hosts[i].member_of_story = true;
        if (!host_start(&w->hosts[i])) complain(s, "a node does not start");
    }
    w->candidate = &w->hosts[HOSTS - 1]; /* nobody: it is not there */
    sim_bootstrap(w, true);
    pass(s, 20);
}

static void set_up(struct story *s, struct host *h)
{
    struct op *o = client_begin(s->w, 0, h, OP_SETUP, 0, RQLITE__LEVEL__WEAK);

    for (int i = 0; i < STEP_MS && o->state == OP_OPEN; i++) pass(s, 1);
    if (!s->w->set_up) complain(s, "the tables cannot be made");
}

static void verb_elect(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h == NULL) return;
    s->w->candidate = h;
    for (int i = 0; i < STEP_MS * 10; i++) {
        if (!h->up || raft_role(h->raft) == RAFT_LEADER) break;
        if (i % 100 == 0) host_hurry(h, 2 * HEARTBEAT_MS);
        sim_run_until(s->w, s->w->now + 100);
    }
    if (!h->up || raft_role(h->raft) != RAFT_LEADER) {
        complain(s, "it was not elected");
        return;
    }
    if (strcmp(word(s, 2), "only") == 0) return;
    pass(s, 30);
    if (!s->w->set_up) set_up(s, h);
}

static int key_of(const char *text)
{
    const char *at = text[0] ? strchr("xyzw", text[0]) : NULL;

    return at ? (int)(at - "xyzw") : 0;
}

static Rqlite__Level level_of(const char *text)
{
    if (strcmp(text, "none") == 0) return RQLITE__LEVEL__NONE;
    if (strcmp(text, "weak") == 0) return RQLITE__LEVEL__WEAK;
    if (strcmp(text, "strong") == 0) return RQLITE__LEVEL__STRONG;
    return RQLITE__LEVEL__LINEARIZABLE;
}

static void ask(struct story *s, size_t first, bool wait)
{
    bool read = strcmp(word(s, first), "read") == 0;
    struct host *h = host_named(s, word(s, first + 1));
    struct op *o;

    if (h == NULL) return;
    o = client_begin(s->w, s->client, h, read ? OP_READ : OP_APPEND,
                     key_of(word(s, first + (read ? 3 : 2))),
                     level_of(word(s, first + 2)));
    if (!wait) {
        sim_say(s->w, 0, h, "%s %" PRIu64 " begins", read ? "read" : "write", o->id);
        s->client = (s->client + 1) % CLIENTS;
        pass(s, 3);
        return;
    }
    for (int i = 0; i < STEP_MS && o->state == OP_OPEN; i++) pass(s, 1);
}

static void verb_write(struct story *s)
{
    ask(s, 0, true);
}

static void verb_begin(struct story *s)
{
    ask(s, 1, false);
}

static void verb_cut(struct story *s)
{
    size_t bar = 1;
    bool one_way;

    while (bar < s->n && strcmp(s->words[bar], "|") != 0 && strcmp(s->words[bar], ">"))
        bar++;
    if (bar == s->n) {
        complain(s, "between whom?");
        return;
    }
    one_way = s->words[bar][0] == '>';
    for (size_t i = 1; i < bar; i++) {
        for (size_t k = bar + 1; k < s->n; k++) {
            struct host *a = host_named(s, s->words[i]), *b = host_named(s, s->words[k]);

            if (a == NULL || b == NULL) return;
            s->w->cut[a->number - 1][b->number - 1] = true;
            if (!one_way) s->w->cut[b->number - 1][a->number - 1] = true;
        }
    }
}

static void verb_heal(struct story *s)
{
    memset(s->w->cut, 0, sizeof s->w->cut);
}

static void end_or_start(struct story *s, struct host *h)
{
    const char *verb = word(s, 0);

    if (strcmp(verb, "start") == 0 && !h->up) {
        h->member_of_story = true;
        (void)host_start(h);
    } else if (h->up && strcmp(verb, "start") != 0) {
        host_end(h, strcmp(verb, "crash") == 0  ? HOST_POWER
                    : strcmp(verb, "kill") == 0 ? HOST_KILL
                                                : HOST_STOP);
    } else {
        complain(s, "it is so already");
    }
}

static void verb_end_or_start(struct story *s)
{
    bool all = strcmp(word(s, 1), "all") == 0;

    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &s->w->hosts[i];

        if (all ? h->member_of_story : strcmp(h->id, word(s, 1)) == 0) end_or_start(s, h);
    }
    pass(s, 10);
}

static void verb_pause(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h) h->paused_until = s->w->now + strtoull(word(s, 2), NULL, 10) * MS;
}

static void verb_hold(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h) host_hold_disk(h, strcmp(word(s, 0), "hold") == 0);
    pass(s, 10);
}

static void verb_die(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h) faulty_die_at(h->disk, strtoull(word(s, 2), NULL, 10));
}

static void verb_snapshot(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h == NULL) return;
    host_snapshot(h, strtoull(word(s, 2), NULL, 10));
    pass(s, 30);
}

static void verb_members(struct story *s)
{
    struct host *leader = sim_leader(s->w), *h = host_named(s, word(s, 1));
    uint64_t index;
    enum err e;

    if (leader == NULL || h == NULL) {
        complain(s, "nobody leads");
        return;
    }
    if (strcmp(word(s, 0), "transfer") == 0)
        e = member_transfer(leader->member, h->id, host_now_ms(leader));
    else
        e = member_change_config(leader->member, strcmp(word(s, 0), "add") == 0, h->id,
                                 h->addr, strcmp(word(s, 2), "non-voter") != 0, &index,
                                 host_now_ms(leader));
    if (e)
        sim_say(s->w, 0, leader, "refuses to %s %s: %s", word(s, 0), h->id, err_name(e));
    host_turn_end(leader);
    pass(s, 30);
}

static void verb_wait(struct story *s)
{
    s->w->candidate = NULL;
    pass(s, strtoull(word(s, 1), NULL, 10));
}

static void verb_show(struct story *s)
{
    struct host *h = host_up(s, word(s, 1));

    if (h)
        sim_say(s->w, 0, h,
                "is %s of term %" PRIu64 ", leader is %s, last entry %" PRIu64
                ", committed %" PRIu64 ", applied %" PRIu64 ", snapshot at %" PRIu64,
                raft_role_name(raft_role(h->raft)), raft_term(h->raft),
                raft_leader(h->raft)[0] ? raft_leader(h->raft) : "unknown",
                raft_last_index(h->raft), raft_commit(h->raft), h->published.index,
                raft_snapshot_index(h->raft));
}

static void verb_agree(struct story *s)
{
    s->w->candidate = NULL;
    if (chaos_converge(s->w, 10000)) sim_say(s->w, 0, NULL, "all agree");
}

static const struct {
    const char *name;
    void (*run)(struct story *s);
} verbs[] = {
    {"cluster", verb_cluster},
    {"elect", verb_elect},
    {"write", verb_write},
    {"read", verb_write},
    {"begin", verb_begin},
    {"cut", verb_cut},
    {"heal", verb_heal},
    {"crash", verb_end_or_start},
    {"kill", verb_end_or_start},
    {"stop", verb_end_or_start},
    {"start", verb_end_or_start},
    {"pause", verb_pause},
    {"hold", verb_hold},
    {"free", verb_hold},
    {"die", verb_die},
    {"snapshot", verb_snapshot},
    {"add", verb_members},
    {"remove", verb_members},
    {"transfer", verb_members},
    {"wait", verb_wait},
    {"show", verb_show},
    {"agree", verb_agree},
};

static void run_verb(struct story *s, char *text)
{
    char *at = text, *next;

    s->n = 0;
    while ((next = strtok_r(at, " \t", &at)) != NULL && s->n < WORDS_MAX)
        s->words[s->n++] = next;
    if (s->n == 0) return;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, s->words[0]) != 0) continue;
        verbs[i].run(s);
        return;
    }
    complain(s, "no such verb");
}

/* --- files --------------------------------------------------------------------- */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text;
    long size;

    if (f == NULL) return NULL;
    CHECK(fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0);
    rewind(f);
    text = calloc(1, (size_t)size + 1);
    CHECK(text != NULL && fread(text, 1, (size_t)size, f) == (size_t)size);
    fclose(f);
    return text;
}

/* What the verbs of text make the cluster say. */
static char *tell(const char *root, const char *text, bool *ok)
{
    struct sim *w = calloc(1, sizeof *w);
    struct story s = {.w = w};
    char *copy = strdup(text), *at = copy, *line, *said = NULL;
    size_t size;

    CHECK(w != NULL && copy != NULL);
    w->out = open_memstream(&said, &size);
    CHECK(w->out != NULL);
    w->story = true;
    sim_init(w, 1, root);
    w->c = (struct character){.delay_us = 500,
                              .sync_us = 300,
                              .apply_us = 100,
                              .segment_bytes = 64 << 10,
                              .piece_pages = 64};
    while ((line = strsep(&at, "\n")) != NULL && !s.bad && !w->violation[0]) {
        char *verb;

        if (line[0] == '#') continue;
        while ((verb = strsep(&line, ",")) != NULL && !s.bad && !w->violation[0])
            run_verb(&s, verb);
    }
    *ok = !s.bad && !w->violation[0];
    fflush(w->out);
    w->trace = -1; /* how it is cleared away is no part of the story */
    sim_free(w);
    fclose(w->out);
    free(w);
    free(copy);
    return said;
}

static bool write_file(const char *path, const char *head, const char *said)
{
    FILE *f = fopen(path, "w");

    if (f == NULL) return false;
    fprintf(f, "%s----\n%s", head, said);
    return fclose(f) == 0;
}

static bool run_file(const char *root, const char *path, bool update)
{
    char *text = read_file(path), *line, *recorded = NULL, *said;
    bool ok;

    CHECK(text != NULL);
    line = strncmp(text, "----\n", 5) == 0 ? text : strstr(text, "\n----\n");
    if (line) {
        line += line[0] == '\n';
        recorded = strdup(line + 5);
        *line = '\0';
    }
    said = tell(root, text, &ok);
    if (update && ok && (recorded == NULL || strcmp(recorded, said) != 0)) {
        ok = write_file(path, text, said);
        printf("%s: written\n", path);
    } else if (!ok || recorded == NULL || strcmp(recorded, said) != 0) {
        printf("--- %s: recorded was\n%s--- but it said\n%s", path,
               recorded ? recorded : "nothing\n", said);
        ok = false;
    }
    free(recorded);
    free(said);
    free(text);
    return ok;
}

static int is_story(const struct dirent *d)
{
    size_t len = strlen(d->d_name);

    return len > 4 && strcmp(d->d_name + len - 4, ".txt") == 0;
}

size_t scenario_run_all(const char *root, const char *dir, const char *match, bool update,
                        size_t *n)
{
    struct dirent **names;
    int count = scandir(dir, &names, is_story, alphasort);
    size_t bad = 0;

    *n = 0;
    for (int i = 0; i < count; i++) {
        char path[512];

        snprintf(path, sizeof path, "%s/%.200s", dir, names[i]->d_name);
        if (strstr(path, match)) {
            (*n)++;
            bad += !run_file(root, path, update);
        }
        free(names[i]);
    }
    if (count >= 0) free(names);
    return bad;
}
