/* SPDX-License-Identifier: MIT */
/* Membership among nodes in one process: joining, moving, leaving, handing over,
 * recovering. */
#include "tests/unit/cluster/nodes.h"

#include <sys/eventfd.h>

#include "core/cluster/bootstrap.h"
#include "core/cluster/join.h"
#include "core/cluster/membership.h"
#include "core/cluster/recover.h"

static struct join_options join_of(struct member_node *m, const struct address *to,
                                   size_t n)
{
    return (struct join_options){.targets = to,
                                 .n = n,
                                 .id = m->id,
                                 .raft_addr = m->addr,
                                 .voter = true,
                                 .attempts = 3,
                                 .interval_ns = 20000000,
                                 .asker = {.node = m->node, .cancel_fd = -1},
                                 .logger = m->logger};
}

static struct address raft_address(const struct member_node *m)
{
    struct address a;

    assert_true(address_parse(&a, m->addr, strlen(m->addr)));
    return a;
}

/* m asks through. */
static enum err join_as(struct member_node *m, const struct member_node *through,
                        bool voter, struct why *why)
{
    struct address to = raft_address(through);
    struct join_options o = join_of(m, &to, 1);

    o.voter = voter;
    return join_cluster(&o, why);
}

static void must_join(struct member_node *m, const struct member_node *through)
{
    struct why why = {0};

    if (join_as(m, through, true, &why)) fail_msg("%s: %s", m->id, why.text);
}

/* The members as a node knows them: "n1 n2 n3?", a replica with a question mark. */
static const char *members_of(struct member_node *m)
{
    static char text[200];
    struct raft_config c;
    size_t n = 0;

    assert_int_equal(node_members(m->node, &c), ERR_OK);
    text[0] = '\0';
    for (size_t i = 0; i < c.n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s", i ? " " : "",
                              c.members[i].id, c.members[i].voter ? "" : "?");
    raft_config_fini(&c);
    return text;
}

#define WAIT_MEMBERS(m, text) WAIT_FOR(strcmp(members_of(m), text) == 0)

static int64_t count(struct member_node *m, enum metric which)
{
    return metrics_get(m->metrics, which);
}

/* n1 alone leads; the others are up and know nobody. */
static struct nodes *one_and_others(size_t n)
{
    struct nodes *s = nodes_new(n);
    struct why why = {0};

    for (size_t i = 0; i < n; i++) node_up(&s->n[i]);
    if (node_bootstrap(s->n[0].node, &why)) fail_msg("%s", why.text);
    WAIT_FOR(leader_of(s) == &s->n[0]);
    return s;
}

static struct nodes *three(void)
{
    struct nodes *s = one_and_others(3);

    must_join(&s->n[1], &s->n[0]);
    must_join(&s->n[2], &s->n[0]);
    WAIT_MEMBERS(&s->n[0], "n1 n2 n3");
    WAIT_FOR(settled(s));
    return s;
}

/* A row in table t, where there was none, and then on each node that is up. */
static void write_and_compare(struct nodes *s, const char *table)
{
    char sql[100];

    snprintf(sql, sizeof sql, "CREATE TABLE %s (id)", table);
    asked_free(execute_on(leader_of(s), sql));
    snprintf(sql, sizeof sql, "INSERT INTO %s VALUES (1)", table);
    expect(execute_on(leader_of(s), sql), "{1,1}");
    for (size_t i = 0; i < s->count; i++)
        if (s->n[i].node) assert_int_equal(count_of(&s->n[i], table), 1);
}

/* --- joining ----------------------------------------------------------------------- */

static void a_voter_is_promoted_when_it_has_caught_up(void **state)
{
    struct nodes *s = one_and_others(2);

    (void)state;
    asked_free(execute_on(&s->n[0], "CREATE TABLE big (x)"));
    asked_free(execute_on(&s->n[0],
                          "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 "
                          "FROM c LIMIT 2000) INSERT INTO big SELECT "
                          "randomblob(100) FROM c"));
    must_join(&s->n[1], &s->n[0]);
    WAIT_MEMBERS(&s->n[0], "n1 n2");
    WAIT_MEMBERS(&s->n[1], "n1 n2");
    WAIT_FOR(settled(s));
    assert_int_equal(count_of(&s->n[1], "big"), 2000);
    assert_int_equal(count(&s->n[0], METRIC_store_num_joins), 1);
    nodes_free(s);
}

static void a_follower_names_the_leader(void **state)
{
    struct nodes *s = one_and_others(3);

    (void)state;
    must_join(&s->n[1], &s->n[0]);
    WAIT_FOR(node_has_leader(s->n[1].node));
    must_join(&s->n[2], &s->n[1]);
    WAIT_MEMBERS(&s->n[2], "n1 n2 n3");
    nodes_free(s);
}

static void joining_again_changes_nothing(void **state)
{
    struct nodes *s = three();
    struct raft_config before, after;

    (void)state;
    assert_int_equal(node_members(s->n[0].node, &before), ERR_OK);
    must_join(&s->n[2], &s->n[1]);
    assert_int_equal(node_members(s->n[0].node, &after), ERR_OK);
    assert_int_equal(before.index, after.index);
    assert_int_equal(count(&s->n[0], METRIC_store_num_ignored_joins), 1);
    assert_int_equal(count(&s->n[0], METRIC_store_num_joins), 2);
    raft_config_fini(&before);
    raft_config_fini(&after);
    nodes_free(s);
}

struct posted { /* POST /join, which does not wait */
    struct call_join c;
    struct asked *asked;
};

static void posted_done(struct call *c)
{
    struct posted *p = LIST_ITEM(c, struct posted, c.call);

    p->asked->u.call.why = c->why;
    p->asked->u.call.done(&p->asked->u.call);
}

static void those_who_join_at_once_join_one_by_one(void **state)
{
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f"};
    struct nodes *s = one_and_others(3);
    struct posted p[6];

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        memset(&p[i], 0, sizeof p[i]);
        p[i].asked = asked_new();
        p[i].c.call.done = posted_done;
        p[i].c.id = ids[i];
        p[i].c.addr = i < 5 ? s->n[2].addr : "127.0.0.1:9";
        cluster_join(s->n[0].cluster, &p[i].c);
    }
    must_join(&s->n[1], &s->n[0]);
    for (size_t i = 0; i < 6; i++) {
        asked_wait(p[i].asked);
        assert_int_equal(p[i].asked->u.call.why.code, ERR_OK);
        asked_free(p[i].asked);
    }
    /* Of those at one address one is left, each having taken the place of another. */
    WAIT_FOR(strncmp(members_of(&s->n[0]) + 3, "f? n1 n2", 8) == 0);
    nodes_free(s);
}

static void a_replica_stays_one_until_it_asks(void **state)
{
    struct nodes *s = one_and_others(2);
    struct why why = {0};

    (void)state;
    assert_int_equal(join_as(&s->n[1], &s->n[0], false, &why), ERR_OK);
    WAIT_MEMBERS(&s->n[1], "n1 n2?");
    must_join(&s->n[1], &s->n[0]);
    WAIT_MEMBERS(&s->n[1], "n1 n2");
    assert_int_equal(join_as(&s->n[1], &s->n[0], false, &why), ERR_OK);
    WAIT_MEMBERS(&s->n[1], "n1 n2?");
    nodes_free(s);
}

/* As when the leader that took it in stopped leading before the promotion. */
static void who_wants_to_vote_and_was_forgotten_asks_again(void **state)
{
    struct nodes *s = one_and_others(2);
    struct why why = {0};

    (void)state;
    assert_int_equal(join_as(&s->n[1], &s->n[0], false, &why), ERR_OK);
    WAIT_MEMBERS(&s->n[1], "n1 n2?");
    WAIT_MEMBERS(&s->n[1], "n1 n2");
    WAIT_FOR(settled(s));
    nodes_free(s);
}

static void a_member_moves(void **state)
{
    struct nodes *s = three();
    struct member_node *m = &s->n[2];

    (void)state;
    node_down(m);
    snprintf(m->bind, sizeof m->bind, "127.0.0.1:%u", free_port());
    strcpy(m->addr, m->bind);
    node_up(m);
    must_join(m, &s->n[1]);
    WAIT_FOR(settled(s));
    write_and_compare(s, "t");
    assert_int_equal(count(&s->n[0], METRIC_store_num_removed_before_joins), 1);
    assert_string_equal(members_of(&s->n[0]), "n1 n2 n3");
    nodes_free(s);
}

static void an_empty_disk_under_a_voters_id_starts_anew(void **state)
{
    struct nodes *s = three();
    struct member_node *m = &s->n[2];

    (void)state;
    node_down(m);
    strcat(m->dir, "-new");
    assert_int_equal(mkdir(m->dir, 0700), 0);
    node_up(m);
    must_join(m, &s->n[0]);
    WAIT_MEMBERS(&s->n[0], "n1 n2 n3");
    WAIT_FOR(settled(s));
    write_and_compare(s, "t");
    assert_int_equal(count(&s->n[0], METRIC_store_num_removed_before_joins), 1);
    nodes_free(s);
}

static void what_the_leader_refuses(void **state)
{
    struct nodes *s = one_and_others(2);
    struct member_node other = s->n[1];
    struct why why = {0};
    char leader_addr[ASK_ADDR_MAX];
    const struct asker a = {.node = s->n[1].node, .cancel_fd = -1};
    Rqlite__JoinRequest q = RQLITE__JOIN_REQUEST__INIT;

    (void)state;
    q.id = s->n[0].id;
    q.addr = other.addr;
    q.voter = true;
    assert_int_equal(ask_join(&a, s->n[0].addr, &q, leader_addr, &why), ERR_INVALID);
    q.id = other.id;
    q.addr = s->n[0].addr;
    assert_int_equal(ask_join(&a, s->n[0].addr, &q, leader_addr, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "found duplicate address in configuration"));
    q.addr = (char *)"no.such.invalid:1";
    assert_int_equal(ask_join(&a, s->n[0].addr, &q, leader_addr, &why), ERR_UNREACHABLE);
    assert_non_null(strstr(why.text, "failed to resolve no.such.invalid:1: "));
    q.addr = (char *)"no port";
    assert_int_equal(ask_join(&a, s->n[0].addr, &q, leader_addr, &why), ERR_INVALID);
    q.id = (char *)"";
    assert_int_equal(ask_join(&a, s->n[0].addr, &q, leader_addr, &why), ERR_INVALID);
    q.id = other.id;
    q.addr = other.addr;
    assert_int_equal(ask_join(&a, other.addr, &q, leader_addr, &why), ERR_NO_LEADER);
    assert_string_equal(members_of(&s->n[0]), "n1");
    nodes_free(s);
}

static void *cancel_soon(void *fd)
{
    uint64_t one = 1;

    usleep(50000);
    assert_int_equal(write(*(int *)fd, &one, sizeof one), sizeof one);
    return NULL;
}

static void joining_can_be_given_up(void **state)
{
    struct nodes *s = nodes_new(1);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = eventfd(0, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof sa;
    char text[32];
    struct address to;
    struct join_options o;
    struct why why = {0};
    uint64_t begun = now_ms();
    pthread_t t;

    (void)state;
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* accepts, and never says a word */
    assert_int_equal(bind(silent, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(silent, 5), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&sa, &len), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(sa.sin_port));
    assert_true(address_parse(&to, text, strlen(text)));
    node_up(&s->n[0]);
    o = join_of(&s->n[0], &to, 1);
    o.asker.connect_ms = 60000;
    o.asker.cancel_fd = fd;
    assert_int_equal(pthread_create(&t, NULL, cancel_soon, &fd), 0);
    assert_int_equal(join_cluster(&o, &why), ERR_CANCELLED);
    assert_string_equal(why.text, "join operation canceled");
    assert_true(now_ms() - begun < 10000);
    pthread_join(t, NULL);
    close(silent);
    close(fd);
    nodes_free(s);
}

/* --- leaving and handing over ------------------------------------------------------ */

static enum err step_down(struct member_node *m, const char *to, bool wait, char *text)
{
    struct asked *a = asked_new();
    enum err e;

    a->u.step_down.id = to;
    a->u.step_down.wait = wait;
    node_step_down(m->node, &a->u.step_down);
    asked_wait(a);
    e = a->u.call.why.code;
    if (text) strcpy(text, a->u.call.why.text);
    asked_free(a);
    return e;
}

static void a_step_down_waits_for_its_outcome(void **state)
{
    struct nodes *s = three();
    char text[512];

    (void)state;
    assert_int_equal(step_down(&s->n[0], "n3", true, NULL), ERR_OK);
    assert_false(node_is_leader(s->n[0].node));
    WAIT_FOR(settled(s));
    assert_ptr_equal(leader_of(s), &s->n[2]);
    assert_int_equal(step_down(&s->n[2], "n3", true, text), ERR_INVALID);
    assert_string_equal(text, "cannot step down to the current Leader");
    assert_int_equal(step_down(&s->n[2], "n9", true, text), ERR_NOT_FOUND);
    assert_int_equal(step_down(&s->n[0], NULL, true, text), ERR_NOT_LEADER);
    assert_int_equal(join_as(&s->n[0], &s->n[2], false, NULL), ERR_OK);
    assert_int_equal(step_down(&s->n[2], "n1", true, text), ERR_INVALID);
    assert_string_equal(text, "node n1 is not a voter");
    node_down(&s->n[1]); /* nobody to take over: the leader goes on */
    assert_int_equal(step_down(&s->n[2], "n2", true, text), ERR_TIMEOUT);
    nodes_free(s);
}

static void a_removed_leader_is_followed_by_another(void **state)
{
    struct nodes *s = three();
    struct asked *a = asked_new();

    (void)state;
    a->u.remove.id = "n1";
    node_remove(s->n[0].node, &a->u.remove);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    asked_free(a);
    WAIT_FOR(leader_of(s) && leader_of(s) != &s->n[0]);
    WAIT_MEMBERS(leader_of(s), "n2 n3");
    must_join(&s->n[0], &s->n[1]);
    WAIT_FOR(settled(s));
    WAIT_MEMBERS(&s->n[0], "n1 n2 n3");
    nodes_free(s);
}

/* --- clusters --------------------------------------------------------------------- */

static void a_member_of_one_cluster_does_not_get_into_another(void **state)
{
    struct nodes *a = one_and_others(1), *b = three();
    struct why why = {0};

    (void)state;
    assert_int_not_equal(join_as(&b->n[2], &a->n[0], true, &why), ERR_OK);
    assert_string_equal(members_of(&a->n[0]), "n1");
    assert_string_equal(members_of(&b->n[0]), "n1 n2 n3");
    nodes_free(a);
    nodes_free(b);
}

/* --- raft/peers.json --------------------------------------------------------------- */

static struct node_options options_of(const struct member_node *m)
{
    return (struct node_options){.id = m->id,
                                 .data_dir = m->dir,
                                 .raft_addr = m->addr,
                                 .http_addr = m->http,
                                 .version = "v1.test",
                                 .heartbeat_ms = 800,
                                 .election_ms = 800,
                                 .lease_ms = 800,
                                 .clock = clock_real(),
                                 .io = io_real(),
                                 .metrics = m->metrics};
}

static void write_peers(const struct member_node *m, const char *text)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof path, "%s/raft", m->dir);
    (void)mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/raft/peers.json", m->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void one_of_three_recovers_alone(void **state)
{
    struct nodes *s = three();
    struct member_node *m = &s->n[1];
    struct node_options o = options_of(m);
    char text[200];
    struct why why = {0};

    (void)state;
    write_and_compare(s, "t");
    for (int i = 0; i < 3; i++) node_down(&s->n[i]);
    snprintf(text, sizeof text, "[{\"id\":\"n2\",\"address\":\"%s\"}]", m->addr);
    write_peers(m, text);
    if (recover_if_asked(&o, &why)) fail_msg("%s", why.text);
    assert_int_equal(recover_if_asked(&o, &why), ERR_OK); /* there is no file any more */
    assert_int_equal(count(m, METRIC_store_num_recoveries), 1);
    node_up(m);
    WAIT_FOR(leader_of(s) == m);
    assert_string_equal(members_of(m), "n2");
    assert_int_equal(count_of(m, "t"), 1);
    expect(execute_on(m, "INSERT INTO t VALUES (2)"), "{2,1}");
    node_down(m); /* and it stays so */
    node_up(m);
    WAIT_FOR(leader_of(s) == m);
    assert_int_equal(count_of(m, "t"), 2);
    nodes_free(s);
}

static void nothing_recovers_from_nothing(void **state)
{
    struct nodes *s = nodes_new(1);
    struct node_options o = options_of(&s->n[0]);
    struct why why = {0};

    (void)state;
    assert_int_equal(recover_if_asked(&o, &why), ERR_OK);
    write_peers(&s->n[0], "[{\"id\":\"n1\",\"address\":\"h:1\"}]");
    assert_int_equal(recover_if_asked(&o, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "failed to recover node: refused to recover"));
    write_peers(&s->n[0], "[]");
    assert_int_equal(recover_if_asked(&o, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "failed to read peers file: need at least one"));
    nodes_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_voter_is_promoted_when_it_has_caught_up),
        cmocka_unit_test(a_follower_names_the_leader),
        cmocka_unit_test(joining_again_changes_nothing),
        cmocka_unit_test(those_who_join_at_once_join_one_by_one),
        cmocka_unit_test(a_replica_stays_one_until_it_asks),
        cmocka_unit_test(who_wants_to_vote_and_was_forgotten_asks_again),
        cmocka_unit_test(a_member_moves),
        cmocka_unit_test(an_empty_disk_under_a_voters_id_starts_anew),
        cmocka_unit_test(what_the_leader_refuses),
        cmocka_unit_test(joining_can_be_given_up),
        cmocka_unit_test(a_step_down_waits_for_its_outcome),
        cmocka_unit_test(a_removed_leader_is_followed_by_another),
        cmocka_unit_test(a_member_of_one_cluster_does_not_get_into_another),
        cmocka_unit_test(one_of_three_recovers_alone),
        cmocka_unit_test(nothing_recovers_from_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
