/* SPDX-License-Identifier: MIT */
/* The handlers, through a real gateway with a fake backend behind it. */
#include "fake.h"

#include <fcntl.h>

#include "core/base/doc.h"

static struct fake f;
static struct answer last;

/* Forget what was set for the request before. */
static void reset(void)
{
    f.results = NULL;
    f.result = NULL;
    f.fail = ERR_OK;
    f.fail_text = NULL;
    f.top_level = false;
    f.served_by = f.leader_url = NULL;
    f.asked[0] = '\0';
}

static const char *request_n(const char *method, const char *target, const char *headers,
                             const void *body, size_t len)
{
    free(last.all);
    f.asked[0] = '\0';
    client_answer(client_send(&f, method, target, headers, body, len), &last);
    return last.body;
}

static const char *request(const char *method, const char *target, const char *body)
{
    return request_n(method, target, "", body, strlen(body));
}

static const char *get(const char *target)
{
    return request("GET", target, "");
}

static const char *post(const char *target, const char *body)
{
    return request("POST", target, body);
}

#define JSON "application/json; charset=utf-8"
#define TEXT "text/plain; charset=utf-8"

static void expect_(int line, int status, const char *type, const char *body)
{
    if (last.status != status || strcmp(last.body, body) != 0 ||
        strcmp(client_header(&last, "Content-Type"), type) != 0)
        fail_msg("line %d: expected %d %s %s, got %s", line, status, type, body,
                 last.all);
}
#define expect(status, type, body) expect_(__LINE__, status, type, body)

static void two_writes(struct row_sink *s)
{
    s->ops->written(s, 1, 1, 1000);
    s->ops->failed(s, false, "no such table: x", 16);
}

static void one_row(struct row_sink *s)
{
    const struct row_column c = {"1", NULL};
    struct db_value v = {.type = DB_INTEGER, .u.i = 1};

    s->ops->columns(s, &c, 1);
    s->ops->row(s, &v, 1);
    s->ops->rows_end(s, 1000);
}

static void an_execute_reaches_the_backend_and_back(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        reset();
        f.threaded = i == 1;
        f.results = two_writes;
        f.served_by = "host:4001";
        post("/db/execute", "[\"INSERT\",[\"UPDATE ? ?\",1,\"x\"],\"\"]");
        expect(200, JSON,
               "{\"results\":[{\"last_insert_id\":1,\"rows_affected\":1},{\"error\":\"no "
               "such table: x\"}]}");
        assert_string_equal(f.asked, "execute INSERT() UPDATE ? ?(1,x)\n");
        assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "host:4001");
        assert_string_equal(client_header(&last, "X-Rqlite-Version"), "v1.2.3");
    }
    f.threaded = false;
    post("/db/"
         "execute?transaction&noparse&raft_index&retries=2&timeout=5s&db_timeout=1ms&"
         "redirect&noleader",
         "[\"a\"]");
    assert_string_equal(f.asked, "execute redirect noleader retries=2 timeout=5000000000 "
                                 "tx noparse db_timeout=1000000 "
                                 "steps=20001 a()\n");
    expect(200, JSON,
           "{\"results\":[{\"last_insert_id\":1,\"rows_affected\":1},{\"error\":\"no "
           "such table: x\"}],\"raft_index\":7}");
}

static void bodies_are_read_as_they_should(void **state)
{
    (void)state;
    reset();
    post("/db/execute", "");
    expect(400, TEXT, "invalid JSON body\n");
    assert_string_equal(client_header(&last, "X-Content-Type-Options"), "nosniff");
    post("/db/execute", "{}");
    expect(400, TEXT, "invalid request\n");
    post("/db/execute", "[]");
    expect(400, TEXT, "no statements\n");
    post("/db/query", "[]");
    expect(400, TEXT, "no statements\n");
    post("/db/request", "[[\"a\",1e400]]");
    expect(400, TEXT, "invalid number 1e400\n");
    post("/db/execute", "[\"\"]");
    expect(200, JSON, "{\"results\":[]}");
    assert_string_equal(f.asked, "execute\n");
    request_n("POST", "/db/execute", "Content-Type: text/plain; charset=utf-8\r\n",
              "INSERT; x", 9);
    assert_string_equal(f.asked, "execute INSERT; x()\n");
    request_n("POST", "/db/execute", "Content-Type: text/plain\r\n", "", 0);
    expect(200, JSON, "{\"results\":[]}");
    request_n("POST", "/db/query", "Content-Type: text/plainish\r\n", "SELECT 1", 8);
    assert_string_equal(f.asked, "query weak SELECT 1()\n");
    request_n("POST", "/db/query", "Content-Type: Text/plain\r\n", "SELECT 1", 8);
    expect(400, TEXT, "invalid JSON body\n");
    request_n("POST", "/db/request", "Content-Type: text/plain\r\n", "SELECT 1", 8);
    expect(400, TEXT, "invalid JSON body\n");
}

static void a_query_says_how_it_wants_to_be_served(void **state)
{
    (void)state;
    reset();
    f.results = one_row;
    get("/db/query?q=SELECT%201");
    expect(
        200, JSON,
        "{\"results\":[{\"columns\":[\"1\"],\"types\":[\"integer\"],\"values\":[[1]]}]}");
    assert_string_equal(f.asked, "query weak SELECT 1()\n");
    get("/db/"
        "query?q=x&level=NONE&freshness=1s&freshness_strict&linearizable_timeout=2s&db_"
        "timeout=3s&qualify_columns&transaction&associative");
    expect(200, JSON,
           "{\"results\":[{\"types\":{\"1\":\"integer\"},\"rows\":[{\"1\":1}]}]}");
    assert_string_equal(f.asked, "query none tx qualify freshness=1000000000 strict "
                                 "lin=2000000000 db_timeout=3000000000 x()\n");
    post("/db/request?level=strong", "[\"a\",[\"b\",{\"n\":2}]]");
    assert_string_equal(f.asked, "request strong rows a() b(n=2)\n");
    f.results = NULL;
    get("/db/query?pretty");
    expect(200, JSON, "{\n    \"results\": []\n}");
    assert_string_equal(f.asked, "query weak\n");
}

static void a_refused_pragma_refuses_the_request(void **state)
{
    (void)state;
    reset();
    f.served_by = "host:4001";
    post("/db/execute", "[\"a\",\"PRAGMA query_only=1\"]");
    expect(200, JSON, "{\"results\":[],\"error\":\"disallowed pragma\"}");
    assert_string_equal(f.asked, "");
    assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "");
    get("/db/query?q=PRAGMA%20query_only&pretty");
    expect(200, JSON, "{\n    \"results\": [],\n    \"error\": \"disallowed pragma\"\n}");
    post("/db/request?associative", "[\"PRAGMA query_only\"]");
    expect(200, JSON, "{\"results\":[],\"error\":\"disallowed pragma\"}");
    post("/db/execute?queue", "[\"PRAGMA query_only\"]");
    expect(200, JSON, "{\"results\":[],\"error\":\"disallowed pragma\"}");
    post("/db/load", "PRAGMA query_only");
    expect(200, TEXT, "{\"results\":[],\"error\":\"disallowed pragma\"}");
}

static void failures_become_statuses(void **state)
{
    static const struct {
        enum err code;
        const char *text;
        int execute;
        const char *execute_body;
        int remove;
        const char *remove_body;
    } rows[] = {
        {ERR_NO_LEADER, "x", 503, "leader not found\n", 503, "leader not found\n"},
        {ERR_UNAUTHORIZED, "x", 401, "remote Execute not authorized\n", 401,
         "remote remove node not authorized\n"},
        {ERR_UNSUPPORTED, "not yet", 501, "not yet\n", 501, "not yet\n"},
        {ERR_LEADERSHIP_LOST, "leadership lost while committing log", 200,
         "{\"results\":[],\"error\":\"leadership lost while committing log\"}", 500,
         "leadership lost while committing log\n"},
        {ERR_NOT_OPEN, "store not open", 200,
         "{\"results\":[],\"error\":\"store not open\"}", 500, "store not open\n"},
        {ERR_STALE, "stale read", 200, "{\"results\":[],\"error\":\"stale read\"}", 500,
         "stale read\n"},
        {ERR_TIMEOUT, "timed out", 200, "{\"results\":[],\"error\":\"timed out\"}", 500,
         "timed out\n"},
        {ERR_NOT_LEADER, "not leader", 200, "{\"results\":[],\"error\":\"not leader\"}",
         500, "not leader\n"},
    };

    (void)state;
    reset();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        f.fail = rows[i].code;
        f.fail_text = rows[i].text;
        f.top_level = rows[i].execute == 200;
        f.served_by = "host:4001";
        post("/db/execute", "[\"a\"]");
        expect(rows[i].execute, rows[i].execute == 200 ? JSON : TEXT,
               rows[i].execute_body);
        assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "");
        request("DELETE", "/remove", "{\"id\":\"2\"}");
        expect(rows[i].remove, TEXT, rows[i].remove_body);
    }
    f.top_level = false;
    f.fail = ERR_UNAUTHORIZED;
    get("/db/query?q=a");
    expect(401, TEXT, "remote query not authorized\n");
    post("/db/request", "[\"a\"]");
    expect(401, TEXT, "remote Request not authorized\n");
    get("/db/backup");
    expect(401, TEXT, "remote backup not authorized\n");
    post("/db/load", "x");
    expect(401, TEXT, "remote load not authorized\n");
    post("/leader", "");
    expect(401, TEXT, "remote stepdown not authorized\n");
}

static void a_redirect_keeps_path_and_query(void **state)
{
    static const struct {
        const char *method, *target, *body, *type;
    } rows[] = {
        {"POST", "/db/execute?redirect&timings", "[\"a\"]", JSON},
        {"GET", "/db/query?q=SELECT%201&redirect", "", JSON},
        {"GET", "/db/backup?redirect&fmt=sql", "", "application/sql"},
        {"POST", "/db/load?redirect", "SELECT 1", TEXT},
        {"DELETE", "/remove?redirect", "{\"id\":\"x\"}", ""},
        {"POST", "/leader?redirect&wait", "", JSON},
    };

    (void)state;
    reset();
    f.fail = ERR_NOT_LEADER;
    f.leader_url = "http://host:4001";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char location[200];

        request(rows[i].method, rows[i].target, rows[i].body);
        expect(301, rows[i].type, "");
        snprintf(location, sizeof location, "http://host:4001%s", rows[i].target);
        assert_string_equal(client_header(&last, "Location"), location);
    }
    f.fail = ERR_NO_LEADER;
    post("/db/execute?redirect", "[\"a\"]");
    expect(503, TEXT, "leader not found\n");
}

static void infinite(struct row_sink *s)
{
    const struct row_column c = {"1", NULL};
    struct db_value v = {.type = DB_REAL, .u.r = __builtin_inf()};

    s->ops->columns(s, &c, 1);
    s->ops->row(s, &v, 1);
    s->ops->rows_end(s, 1000);
}

static void an_infinite_value_is_a_500(void **state)
{
    (void)state;
    reset();
    f.results = infinite;
    f.served_by = "host:4001";
    get("/db/query?q=a");
    expect(500, TEXT, "unsupported value: +Inf\n");
    assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "host:4001");
}

static void checks_come_in_order(void **state)
{
    (void)state;
    reset();
    request("OPTIONS", "/nope?q=", "");
    expect(200, "", "");
    get("/nope?q=");
    expect(400, TEXT, "query parameter not set\n");
    get("/nope");
    expect(404, "", "");
    request("PUT", "/db/query?timeout=x", "");
    expect(400, TEXT, "timeout is not a valid duration\n");
    request("PUT", "/db/query", "");
    expect(405, JSON, "");
    request("DELETE", "/db/query", "unread body");
    expect(405, JSON, "");
    get("/db/load");
    expect(405, "", "");
    request("HEAD", "/readyz", "");
    expect(405, "", "");
    request("get", "/status", "");
    expect(405, JSON, "");
    assert_string_equal(f.asked, "");
}

static void sql_is_shown_as_it_runs(void **state)
{
    (void)state;
    reset();
    get("/db/sql?q=SELECT%20random()");
    expect(200, JSON,
           "{\"results\":[{\"original\":\"SELECT random()\",\"rewritten\":\"SELECT "
           "random()\"}]}");
    post("/db/sql", "[\"SELECT 1\",\"nonsense\"]");
    expect(200, JSON,
           "{\"results\":[{\"original\":\"SELECT 1\",\"rewritten\":\"SELECT "
           "1\"},{\"original\":\"nonsense\",\"error\":"
           "\"near \\\"nonsense\\\": syntax error\"}]}");
    get("/db/sql");
    expect(400, TEXT, "query not specified\n");
    post("/db/sql", "[]");
    expect(400, TEXT, "no statements\n");
}

static void a_load_tells_files_from_text(void **state)
{
    char file[4096] = "SQLite format 3";

    (void)state;
    reset();
    f.results = two_writes;
    f.served_by = "host:4001";
    post("/db/load", "CREATE TABLE t(a)");
    expect(200, TEXT,
           "{\"results\":[{\"last_insert_id\":1,\"rows_affected\":1},{\"error\":\"no "
           "such table: x\"}]}");
    assert_string_equal(f.asked, "load script 17\n");
    post("/db/load", "SQLite format");
    assert_string_equal(f.asked, "load script 13\n");
    f.results = NULL;
    request_n("POST", "/db/load", "", file, sizeof file);
    expect(200, TEXT, "{\"results\":[]}");
    assert_string_equal(f.asked, "load file 4096\n");
    post("/db/load", "");
    expect(200, TEXT, "{\"results\":[]}");
    assert_string_equal(f.asked, "execute\n");
    f.fail = ERR_INVALID;
    f.fail_text = "invalid SQLite data";
    request_n("POST", "/db/load", "", file, sizeof file);
    expect(400, TEXT, "invalid SQLite data\n");
    f.fail = ERR_NOT_READY;
    f.fail_text = "store not ready";
    request_n("POST", "/db/load", "", file, sizeof file);
    expect(500, TEXT, "store not ready\n");
    post("/db/load", "x");
    expect(200, TEXT, "{\"results\":[],\"error\":\"store not ready\"}");
}

static void a_boot_looks_at_the_file_first(void **state)
{
    char file[4096] = "SQLite format 3";

    (void)state;
    reset();
    post("/boot", "short");
    expect(400, TEXT, "invalid SQLite data\n");
    post("/boot", "this is certainly not an SQLite database");
    expect(400, TEXT, "invalid SQLite data\n");
    assert_string_equal(f.asked, "");
    request_n("POST", "/boot", "", file, sizeof file);
    expect(200, "", "");
    assert_string_equal(f.asked, "boot 4096\n");
    f.fail = ERR_NOT_LEADER;
    f.fail_text = "not leader";
    request_n("POST", "/boot", "", file, sizeof file);
    expect(503, TEXT, "not leader\n");
    f.fail = ERR_INVALID;
    f.fail_text = "invalid SQLite data";
    request_n("POST", "/boot", "", file, sizeof file);
    expect(400, TEXT, "invalid SQLite data\n");
}

static void backup_file(struct call *c)
{
    struct call_backup *b = (struct call_backup *)(void *)c;

    b->fd = open(".", O_TMPFILE | O_RDWR, 0600);
    assert_true(b->fd >= 0);
    assert_int_equal(write(b->fd, "the backup", 10), 10);
    b->size = 10;
}

static void a_backup_is_a_file(void **state)
{
    (void)state;
    reset();
    f.result = backup_file;
    get("/db/backup");
    expect(200, "application/octet-stream", "the backup");
    assert_string_equal(f.asked, "backup 0\n");
    get("/db/backup?fmt=SQL&tables=%20a%20,,b");
    expect(200, "application/sql", "the backup");
    assert_string_equal(f.asked, "backup 3 a b\n");
    get("/db/backup?fmt=delete&noleader&tables=a");
    assert_string_equal(f.asked, "backup noleader 1\n");
    get("/db/backup?vacuum&fmt=nosuch");
    assert_string_equal(f.asked, "backup 2\n");
    get("/db/backup?compress");
    assert_int_equal(last.status, 200);
    f.result = NULL;
    get("/db/backup?vacuum&fmt=sql");
    expect(500, TEXT, "invalid backup format\n");
    get("/db/backup?vacuum&fmt=delete");
    expect(500, TEXT, "invalid backup format\n");
    f.fail = ERR_NOT_OPEN;
    f.fail_text = "store not open";
    get("/db/backup");
    expect(500, TEXT, "store not open\n");
}

static void two_nodes(struct call *c)
{
    static struct node_view views[] = {
        {"1", "http://h:4001", "h:4002", "v1", "", true, true, true, 19169},
        {"2", "", "h:4004", "", "connection refused", false, false, false, 0},
    };
    struct call_nodes *n = (struct call_nodes *)(void *)c;

    n->nodes = views;
    n->n = 2;
}

#define NODE1                                                                            \
    "{\"id\":\"1\",\"api_addr\":\"http://"                                               \
    "h:4001\",\"addr\":\"h:4002\",\"version\":\"v1\",\"voter\":true,\"reachable\":true," \
    "\"leader\":true,\"time\":0.000019169,\"time_s\":\"19.169\u00b5s\"}"
#define NODE2                                                                            \
    "{\"id\":\"2\",\"addr\":\"h:4004\",\"version\":\"\",\"voter\":false,\"reachable\":"  \
    "false,\"leader\":false,\"error\":"                                                  \
    "\"connection refused\"}"

static void nodes_are_listed_in_two_forms(void **state)
{
    (void)state;
    reset();
    f.result = two_nodes;
    get("/nodes?nonvoters");
    expect(200, JSON, "{\"1\":" NODE1 ",\"2\":" NODE2 "}");
    assert_string_equal(f.asked, "nodes nonvoters\n");
    get("/nodes?ver=2");
    expect(200, JSON, "{\"nodes\":[" NODE1 "," NODE2 "]}");
    get("/leader");
    expect(200, JSON, NODE1);
    f.result = NULL;
    get("/nodes");
    expect(200, JSON, "{}");
    get("/nodes?ver=2&pretty");
    expect(200, JSON, "{\n    \"nodes\": []\n}");
    get("/leader");
    expect(503, TEXT, "leader not found\n");
    f.fail = ERR_NOT_OPEN;
    f.fail_text = "store not open";
    get("/nodes");
    expect(503, TEXT, "store nodes: store not open\n");
    f.fail = ERR_NO_LEADER;
    get("/leader");
    expect(503, TEXT, "leader not found\n");
}

static void a_leader_is_asked_to_step_down(void **state)
{
    static const char json[] = "Content-Type: application/json\r\n";

    (void)state;
    reset();
    f.served_by = "h:4001";
    post("/leader", "{\"id\":\"2\"}");
    expect(200, JSON, "");
    assert_string_equal(f.asked, "step_down any\n");
    assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "h:4001");
    request_n("POST", "/leader?wait", json, "{\"id\":\"2\"}", 10);
    assert_string_equal(f.asked, "step_down 2 wait\n");
    request_n("POST", "/leader", json, "{\"id\":null}", 11);
    assert_string_equal(f.asked, "step_down any\n");
    request_n("POST", "/leader", json, "{}", 2);
    assert_string_equal(f.asked, "step_down any\n");
    request_n("POST", "/leader", json, "{bad", 4);
    assert_int_equal(last.status, 400);
    assert_true(strncmp(last.body, "invalid JSON: ", 14) == 0);
    request_n("POST", "/leader", json, "{\"id\":2}", 8);
    assert_int_equal(last.status, 400);
    f.fail = ERR_NOT_FOUND;
    f.fail_text = "node not found in cluster";
    post("/leader", "");
    expect(500, TEXT, "stepdown: node not found in cluster\n");
    f.fail = ERR_NOT_OPEN;
    f.fail_text = "store not open";
    post("/leader", "");
    expect(503, TEXT, "stepdown: store not open\n");
}

static enum ready_stage stage;

static void ready_result(struct call *c)
{
    struct call_ready *r = (struct call_ready *)(void *)c;

    r->stage = stage;
    if (stage != READY_OK) why_set(&c->why, ERR_TIMEOUT, "cause");
}

static void readiness_is_told_line_by_line(void **state)
{
    static const struct {
        enum ready_stage stage;
        const char *plain, *sync;
    } rows[] = {
        {READY_OK, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]db ok",
         "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok"},
        {READY_NO_LEADER, "[+]node ok\n[+]leader does not exist",
         "[+]node ok\n[+]leader does not exist"},
        {READY_LEADER_UNREACHABLE, "[+]node ok\n[+]leader not contactable: cause",
         "[+]node ok\n[+]leader not contactable: cause"},
        {READY_STORE, "[+]node ok\n[+]leader ok\n[+]store not ready",
         "[+]node ok\n[+]leader ok\n[+]store not ready"},
        {READY_SYNC, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync cause",
         "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync cause"},
        {READY_DB, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]db not ok: (cause)",
         "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db not ok: (cause)"},
    };

    (void)state;
    reset();
    f.result = ready_result;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stage = rows[i].stage;
        get("/readyz");
        expect(stage == READY_OK ? 200 : 503, TEXT, rows[i].plain);
        get("/readyz?sync");
        expect(stage == READY_OK ? 200 : 503, TEXT, rows[i].sync);
    }
    get("/readyz?noleader&sync");
    expect(200, TEXT, "[+]node ok");
    assert_string_equal(f.asked, "");
}

static void a_remove_wants_exactly_an_id(void **state)
{
    static const char *const bad[] = {
        "",          "not json",       "{}",
        "[]",        "{\"ID\":\"x\"}", "{\"id\":\"x\",\"more\":\"y\"}",
        "{\"id\":1}"};

    (void)state;
    reset();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request("DELETE", "/remove", bad[i]);
        expect(400, "", "");
    }
    f.served_by = "h:4002";
    request("DELETE", "/remove", "{\"id\":\"2\"}");
    expect(200, "", "");
    assert_string_equal(f.asked, "remove 2\n");
    assert_string_equal(client_header(&last, "X-Rqlite-Served-By"), "h:4002");
}

static void a_join_names_a_node(void **state)
{
    (void)state;
    reset();
    post("/join", "{\"id\":\"2\",\"addr\":\"h:4002\",\"voter\":false,\"meta\":{}}");
    expect(200, "", "");
    assert_string_equal(f.asked, "join redirect 2 h:4002\n");
    post("/notify", "{\"id\":\"2\",\"addr\":\"h:4002\"}");
    assert_string_equal(f.asked, "join 2 h:4002 voter notify\n");
    post("/join", "{\"id\":\"2\"}");
    expect(400, "", "");
    f.fail = ERR_NOT_LEADER;
    f.leader_url = "http://h:4001";
    post("/join", "{\"id\":\"2\",\"addr\":\"h:4002\"}");
    expect(301, "", "");
    assert_string_equal(client_header(&last, "Location"), "http://h:4001/join");
}

static void snapshots_and_reaps_answer_shortly(void **state)
{
    (void)state;
    reset();
    post("/snapshot?trailing_logs=5", "");
    expect(200, "", "");
    assert_string_equal(f.asked, "snapshot 5\n");
    post("/snapshot?trailing_logs=-1", "");
    expect(400, TEXT, "trailing_logs is not a valid integer\n");
    post("/reap", "");
    expect(200, JSON, "{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n");
    f.fail = ERR_NOTHING;
    post("/snapshot", "");
    expect(204, "", "");
    f.fail = ERR_BUSY;
    f.fail_text = "load in progress";
    post("/snapshot", "");
    expect(500, TEXT, "load in progress\n");
}

static void some_status(struct call *c)
{
    struct call_status *s = (struct call_status *)(void *)c;
    struct doc *store = doc_add_object(s->into, "store");

    doc_add_text(store, "addr", "h:4002");
    doc_add_uint(store, "big", 1795238683425557333U);
}

static void the_status_joins_both_halves(void **state)
{
    (void)state;
    reset();
    f.result = some_status;
    get("/status?key=store");
    expect(200, JSON, "{\"addr\":\"h:4002\",\"big\":1795238683425557333}");
    get("/status?key=store&pretty");
    expect(200, JSON, "{\"addr\":\"h:4002\",\"big\":1795238683425557333}");
    get("/status?key=http");
    expect(200, JSON,
           "{\"auth\":\"disabled\",\"bind_addr\":\"127.0.0.1:0\",\"cluster\":{\"local_"
           "node_addr\":\"h:4002\",\"timeout\":"
           "\"30s\"},\"queue\":{\"_default\":{\"batch_size\":128,\"max_size\":1024,"
           "\"sequence_number\":0,\"timeout\":"
           "\"0s\"}},\"tls\":{\"enabled\":\"false\"}}");
    get("/status?key=nosuch");
    expect(200, JSON, "{}");
    get("/status?pretty");
    assert_non_null(
        strstr(last.body, "\n    \"store\": {\n        \"addr\": \"h:4002\",\n"));
}

static void counters_are_a_line_for_each_map(void **state)
{
    int64_t before;

    (void)state;
    reset();
    before = metrics_get(f.metrics, METRIC_http_execute_stmts_rx);
    post("/db/execute", "[\"a\",\"b\"]");
    assert_int_equal(metrics_get(f.metrics, METRIC_http_execute_stmts_rx), before + 2);
    get("/debug/vars?key=cmdline");
    expect(200, JSON, "{\n\"cmdline\": [\"rqlited\",\"-node-id\",\"1\"]\n}\n");
    get("/debug/vars?key=queue");
    expect(200, JSON,
           "{\n\"queue\": {\"num_flush\": 0, \"num_timeout\": 0, \"objects_rx\": 0, "
           "\"objects_tx\": 0}\n}\n");
    get("/debug/vars?key=nosuch");
    expect(200, JSON, "{\n\n}\n");
    post("/debug/vars", "");
    assert_int_equal(last.status, 200);
    assert_true(strstr(last.body, "\"cluster\"") < strstr(last.body, "\"cmdline\""));
    assert_true(strstr(last.body, "\"http\"") < strstr(last.body, "\"memstats\""));
    assert_true(strstr(last.body, "\"memstats\"") < strstr(last.body, "\"mux\""));
}

static void the_rest_is_served(void **state)
{
    (void)state;
    reset();
    get("/");
    expect(302, "text/html; charset=utf-8", "<a href=\"/console/\">Found</a>.\n\n");
    assert_string_equal(client_header(&last, "Location"), "/console/");
    post("/", "");
    expect(302, "", "");
    get("/console");
    assert_int_equal(last.status, 301);
    get("/console/");
    assert_int_equal(last.status, 200);
    assert_non_null(
        strstr(client_header(&last, "Content-Security-Policy"), "default-src 'none'"));
    get("/console/static/console.js");
    assert_int_equal(last.status, 200);
    get("/console/index.html");
    assert_int_equal(last.status, 301);
    get("/console/nope");
    expect(404, TEXT, "404 page not found\n");
    get("/licenses");
    assert_int_equal(last.status, 200);
    get("/debug/pprof/goroutine");
    assert_int_equal(last.status, 200);
    get("/debug/pprof/heap");
    assert_int_equal(last.status, 200);
    get("/debug/pprof");
    assert_string_equal(client_header(&last, "Content-Type"), "text/html; charset=utf-8");
    get("/debug/pprof/cmdline");
    assert_int_equal(last.body_len, 18);
    get("/debug/pprof/trace");
    expect(404, TEXT, "Unknown profile\n");
}

static void routes_can_be_taken_away(void **state)
{
    struct gateway_options o = {.no_expvar = true, .no_pprof = true, .allow_origin = "*"};
    static const char *const gone[] = {"/debug/vars", "/debug/pprof/heap"};
    struct fake bare;
    struct answer a;

    (void)state;
    fake_start(&bare, &o);
    for (int i = 0; i < 2; i++) {
        client_answer(client_send(&bare, "GET", gone[i], "", "", 0), &a);
        assert_int_equal(a.status, 404);
        assert_string_equal(client_header(&a, "Access-Control-Allow-Origin"), "*");
        free(a.all);
    }
    fake_stop(&bare);
}

static int begin(void **state)
{
    (void)state;
    fake_start(&f, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(last.all);
    fake_stop(&f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_are_a_line_for_each_map),
        cmocka_unit_test(an_execute_reaches_the_backend_and_back),
        cmocka_unit_test(bodies_are_read_as_they_should),
        cmocka_unit_test(a_query_says_how_it_wants_to_be_served),
        cmocka_unit_test(a_refused_pragma_refuses_the_request),
        cmocka_unit_test(failures_become_statuses),
        cmocka_unit_test(a_redirect_keeps_path_and_query),
        cmocka_unit_test(an_infinite_value_is_a_500),
        cmocka_unit_test(checks_come_in_order),
        cmocka_unit_test(sql_is_shown_as_it_runs),
        cmocka_unit_test(a_load_tells_files_from_text),
        cmocka_unit_test(a_boot_looks_at_the_file_first),
        cmocka_unit_test(a_backup_is_a_file),
        cmocka_unit_test(nodes_are_listed_in_two_forms),
        cmocka_unit_test(a_leader_is_asked_to_step_down),
        cmocka_unit_test(readiness_is_told_line_by_line),
        cmocka_unit_test(a_remove_wants_exactly_an_id),
        cmocka_unit_test(a_join_names_a_node),
        cmocka_unit_test(snapshots_and_reaps_answer_shortly),
        cmocka_unit_test(the_status_joins_both_halves),
        cmocka_unit_test(the_rest_is_served),
        cmocka_unit_test(routes_can_be_taken_away),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
