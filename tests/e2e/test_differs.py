"""Where ours deliberately answers differently from the reference (the **Ours** of the specification), and
every scenario named in golden-differs.txt among them: what we mean to answer."""
import json
import os
import re
import socket
import urllib.parse

import pytest

from conftest import ROOT


@pytest.fixture
def ready(node):
    node.start()
    node.execute("CREATE TABLE foo(id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)")
    return node


def results(node, path, *statements):
    return node.post(path, list(statements)).results


def test_every_scenario_that_differs_is_tested_here():
    with open(os.path.join(ROOT, "tests", "e2e", "golden-differs.txt"), encoding="utf-8") as f:
        names = [line.split()[0] for line in f if line.strip() and not line.startswith("#")]
    for name in names:
        assert "test_" + name.replace("/", "_") in globals(), name


# --- http-api 8.4, 5.8: statements are not rewritten ----------------------------------------------


def test_analyze_random_and_time(ready):
    for sql in ["SELECT random()", "SELECT randomblob(4)", "SELECT date('now')", "SELECT strftime('%s','now')",
                "INSERT INTO t VALUES(random())", "SELECT * FROM nosuch"]:
        expected = [{"original": sql, "rewritten": sql}]
        assert ready.get("/db/sql?q=" + urllib.parse.quote(sql)).results == expected
        assert ready.post("/db/sql", [sql]).results == expected
    answer = ready.post("/db/sql", ["SELECT nope nope nope", "SELECT 1"]).results
    assert answer[0]["original"] == "SELECT nope nope nope" and "syntax error" in answer[0]["error"]
    assert answer[1] == {"original": "SELECT 1", "rewritten": "SELECT 1"}
    assert ready.get("/db/sql").status == 400


def test_random_and_time_are_kept_in_the_log(ready):
    ready.execute("CREATE TABLE r(id INTEGER PRIMARY KEY, a DEFAULT (random()), b DEFAULT (hex(randomblob(8))), "
                  "c DEFAULT CURRENT_TIMESTAMP, d DEFAULT (strftime('%f', 'now')))",
                  "CREATE TRIGGER tr AFTER INSERT ON foo BEGIN INSERT INTO r(d) VALUES(random()); END",
                  "INSERT INTO r(id) VALUES(1), (2), (3)", "INSERT INTO foo(name) VALUES('x')",
                  "INSERT INTO foo(name) SELECT datetime('now') FROM r ORDER BY random() LIMIT 2")
    sql = "SELECT * FROM r ORDER BY id"
    before = ready.query(sql), ready.query("SELECT * FROM foo ORDER BY id")
    assert len({row[1] for row in before[0]}) == len(before[0])  # differs from row to row
    assert before[0][0][3:] == before[0][1][3:]  # one statement sees one now
    ready.kill().start()
    assert (ready.query(sql), ready.query("SELECT * FROM foo ORDER BY id")) == before


def test_column_names_stay_as_written(ready):
    assert results(ready, "/db/request", "SELECT random()")[0]["columns"] == ["random()"]
    assert results(ready, "/db/query", "SELECT date('now'), CURRENT_TIMESTAMP")[0]["columns"] == ["date('now')", "CURRENT_TIMESTAMP"]


# --- http-api 19: routes of v5-v7 ------------------------------------------------------------------


def test_http_unknown_paths(ready):
    for method, path in [("GET", "/nope"), ("GET", "/db"), ("GET", "/db/"), ("GET", "/db/nosuch"), ("POST", "/db/nosuch"),
                         ("GET", "/DB/query?q=SELECT+1"), ("GET", "//db/query?q=SELECT+1"), ("GET", "/leader/"), ("GET", "/boot/x"),
                         ("GET", "/snapshot/"), ("GET", "/favicon.ico")]:
        answer = ready.ask(method, path)
        assert (answer.status, answer.body) == (404, b""), path
    assert ready.get("/nope?q=").text == "query parameter not set\n"
    assert ready.get("/join").status == 405
    for body in ("{}", "garbage", '{"id":"2"}', '{"addr":"h:1"}'):
        answer = ready.post("/join", body)
        assert (answer.status, answer.body) == (400, b"")


# --- http-api 5.5: transactions --------------------------------------------------------------------


def test_request_transaction_with_bad_sql(ready):
    for bad, error in [("SELECT * FROM nosuch", "no such table: nosuch"), ("NOT SQL", 'near "NOT": syntax error')]:
        assert results(ready, "/db/request?transaction", "INSERT INTO foo(id,name) VALUES(1,'a')", bad,
                       "INSERT INTO foo(id,name) VALUES(2,'b')") == [{"last_insert_id": 1, "rows_affected": 1}, {"error": error}]
        assert ready.query("SELECT * FROM foo") == []


@pytest.mark.parametrize("end", ["COMMIT", "END", "ROLLBACK", "  commit;", "/* x */ ROLLBACK"])
def test_a_transaction_cannot_be_ended_from_within(ready, end):
    got = results(ready, "/db/execute?transaction", "INSERT INTO foo(name) VALUES('a')", end, "INSERT INTO foo(name) VALUES('b')")
    assert got == [{"last_insert_id": 1, "rows_affected": 1}, {"error": "cannot commit - no transaction is active"}]
    assert ready.query("SELECT * FROM foo") == []


def test_a_transaction_left_open_is_rolled_back_and_reported(ready):
    answer = ready.post("/db/execute", ["BEGIN", "INSERT INTO foo(name) VALUES('a')"])
    assert answer.json["error"] == "transaction not committed, rolled back"
    assert ready.query("SELECT * FROM foo") == []
    assert "error" not in ready.post("/db/execute", ["BEGIN"]).json  # it has changed nothing
    assert ready.execute("INSERT INTO foo(name) VALUES('b')")[0]["rows_affected"] == 1
    assert ready.query("SELECT name FROM foo") == [["b"]]
    ready.kill().start()
    assert ready.query("SELECT name FROM foo") == [["b"]]


def test_a_read_transaction_ends_with_its_request(ready):
    for _ in range(8):  # every reader
        assert ready.post("/db/query", ["BEGIN", "SELECT count(*) FROM foo"]).status == 200
    ready.execute("INSERT INTO foo(name) VALUES('new')")
    for _ in range(8):
        assert ready.query("SELECT count(*) FROM foo", params="?level=none") == [[1]]


# --- http-api 5.3, 5.9: several statements in one string ---------------------------------------------


def test_every_statement_of_a_string_runs_or_is_refused(ready):
    ready.execute("INSERT INTO foo(name) VALUES('a')")
    got = results(ready, "/db/query", "DELETE FROM foo; SELECT 1")
    assert got == [{"error": "attempt to change database via query operation"}]
    assert ready.query("SELECT count(*) FROM foo") == [[1]]
    got = results(ready, "/db/execute", "INSERT INTO foo(name) VALUES('b') RETURNING id; INSERT INTO foo(name) VALUES('c') RETURNING id")
    assert got[0]["values"] == [[3]]
    assert ready.query("SELECT count(*) FROM foo") == [[3]]


def test_returning_is_seen_however_it_is_written(ready):
    for sql in ["INSERT INTO foo(name) VALUES('a') RETURNING\nid", "INSERT INTO foo(name) VALUES('a')RETURNING(id)",
                "WITH w(x) AS (SELECT 'a') INSERT INTO foo(name) SELECT x FROM w returning\tid"]:
        assert results(ready, "/db/execute", sql)[0]["columns"] == ["id"], sql


# --- http-api 5.6, 5.7: limits and refusals ---------------------------------------------------------


def test_a_write_that_ran_out_of_time_was_not_applied(ready):
    slow = "INSERT INTO foo(name) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c LIMIT 100000000"
    got = results(ready, "/db/execute?db_timeout=20ms", slow, "INSERT INTO foo(name) VALUES('late')")
    assert got == [{"error": "execute timeout"}, {"error": "execute timeout"}]
    assert ready.query("SELECT count(*) FROM foo") == [[0]]
    ready.kill().start()
    assert ready.query("SELECT count(*) FROM foo") == [[0]]


@pytest.mark.parametrize("sql", ["PRAGMA synchronous(1)", "/* x */ PRAGMA journal_mode=DELETE", "SELECT 1; PRAGMA query_only=0",
                                 "PRAGMA main.wal_autocheckpoint=1", "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA mmap_size=1000",
                                 "PRAGMA temp_store_directory='/tmp'", "PRAGMA writable_schema=1", "PRAGMA busy_timeout=1"])
def test_pragmas_the_reference_misses(ready, sql):
    for path in ("/db/execute", "/db/query", "/db/request"):
        answer = ready.post(path, [sql]).json
        assert answer == {"results": [{"error": "disallowed pragma"}]} or answer.get("error") == "disallowed pragma", (path, answer)
    assert ready.query("PRAGMA journal_mode") == [["wal"]]
    assert ready.query("PRAGMA synchronous") == [[0]]


def test_no_statement_opens_files(ready, directory):
    target = os.path.join(directory, "stolen.db")
    for sql in ["ATTACH '%s' AS x" % target, "VACUUM INTO '%s'" % target, "SELECT load_extension('%s')" % target,
                "ATTACH 'file:%s?mode=rwc' AS x" % target]:
        for path in ("/db/execute", "/db/query", "/db/request"):
            got = results(ready, path, sql)
            assert "error" in got[0], (path, sql, got)
    assert not os.path.exists(target)
    assert "error" not in results(ready, "/db/execute", "ATTACH ':memory:' AS x")[0]


# --- http-api 1.6, 1.7, 3.2, 4.1, 10 -----------------------------------------------------------------


def test_content_length_with_chunked_is_refused(ready):
    reply = ready.raw(b"POST /db/query HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n"
                      b"c\r\n[\"SELECT 1\"]\r\n0\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")


def test_infinity_has_a_clear_text(ready):
    answer = ready.post("/db/query", ["SELECT 9e999"])
    assert (answer.status, answer.text) == (500, "unsupported value: +Inf\n")
    answer = ready.post("/db/query", ["SELECT -9e999"])
    assert (answer.status, answer.text) == (500, "unsupported value: -Inf\n")


def test_queued_plain_text_is_honoured(ready):
    answer = ready.post("/db/execute?queue&wait", "INSERT INTO foo(name) VALUES('plain')", headers={"Content-Type": "text/plain"})
    assert answer.status == 200
    assert ready.query("SELECT name FROM foo") == [["plain"]]


def test_members_of_an_object_apply_in_order(ready):
    for _ in range(20):
        body = '[["SELECT :a, :b, :c", {"a":1,"b":2,"c":3}], ["SELECT ?1", {"1x":5}]]'
        answer = ready.post("/db/query", body).results
        assert answer[0]["values"] == [[1, 2, 3]]
        assert answer[1] == {"error": 'name "1x" does not begin with a letter'}


def test_a_load_that_is_no_database_is_refused_first(ready):
    ready.execute("INSERT INTO foo(name) VALUES('kept')")
    answer = ready.post("/db/load", b"SQLite format 3\0" + b"\0" * 5000)
    assert (answer.status, answer.text) == (400, "invalid SQLite data\n")
    assert ready.query("SELECT name FROM foo") == [["kept"]]


def test_a_dump_restores_whatever_the_names_are(ready, make_node):
    ready.execute('CREATE TABLE "a""b"("c""d" TEXT, e)', "CREATE TABLE zz(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
                  "CREATE VIRTUAL TABLE docs USING fts5(body)", "CREATE TABLE g(a, b AS (a + 1) STORED)",
                  ["INSERT INTO \"a\"\"b\" VALUES(?, ?)", "it's", "\"quoted\""], "INSERT INTO zz(x) VALUES(1), (2)",
                  "DELETE FROM zz WHERE id = 2", "INSERT INTO docs VALUES('find me')", "INSERT INTO g(a) VALUES(1)", "ANALYZE",
                  "CREATE VIEW v AS SELECT x FROM zz", "CREATE INDEX i ON zz(x)")
    dump = ready.get("/db/backup?fmt=sql")
    other = make_node().start()
    answer = other.post("/db/load", dump.body, headers={"Content-Type": "text/plain"})
    assert "error" not in answer.results[0], answer
    for node in (ready, other):
        assert node.query('SELECT * FROM "a""b"') == [["it's", '"quoted"']]
        assert node.query("SELECT * FROM g") == [[1, 2]]
        assert node.query("SELECT body FROM docs WHERE docs MATCH 'find'") == [["find me"]]
        assert node.execute("INSERT INTO zz(x) VALUES(9)") == [{"last_insert_id": 3, "rows_affected": 1}]
        assert node.query("SELECT count(*) FROM v") == [[2]]


# --- http-api 11, 12 ---------------------------------------------------------------------------------


def test_status_tells_more_and_exactly(ready):
    status = ready.get("/status").json
    assert status["store"]["open"] is True
    assert status["store"]["sqlite3"]["fk_constraints"] == "disabled"
    assert status["store"]["db_conf"]["memory"] is True
    number = ready.post("/db/execute?queue&wait", ["SELECT 1"]).json["sequence_number"]
    key = "http.queue._default.sequence_number"
    assert int(ready.get("/status?key=" + key).text) == number


def test_negative_trailing_logs(ready):
    assert ready.post("/snapshot?trailing_logs=-1").status == 400


def test_readyz_does_not_wait(node):
    node.launch("-join", "127.0.0.1:9", "-join-interval", "1h")
    node.wait_log("before retry")
    assert node.get("/readyz", timeout=25).status == 503  # the reference would look for a leader for 30 s
    node.stop(status=1)


def test_http2_without_tls_on_the_same_port(ready):
    """By prior knowledge: SETTINGS, one request, its answer."""
    with socket.create_connection(("127.0.0.1", ready.http), 10) as s:
        headers = b"\x82\x86" + b"\x04\x07/readyz" + b"\x01\x01x"  # GET, http, :path, :authority
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
                  + len(headers).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + headers)
        got = b""
        while b"[+]db ok" not in got:
            piece = s.recv(65536)
            assert piece, got
            got += piece
    assert re.search(rb"\[\+\]node ok\n\[\+\]leader ok", got)


def test_boot_wrong_bodies(ready):
    for body in (b"", b"short", b"SQLite format 3\0" + bytes(100)):
        answer = ready.post("/boot", body)
        assert answer.status == 400 and answer.text == "invalid SQLite data\n", answer
    assert ready.query("SELECT 1") == [[1]]


def test_auth_all(node, directory):
    users = os.path.join(directory, "auth.json")
    with open(users, "w", encoding="ascii") as f:
        json.dump([{"username": "admin", "password": "secret", "perms": ["all"]},
                   {"username": "other", "password": "pw", "perms": ["query"]}], f)
    node.login = "admin:secret"
    node.start("-auth", users)
    for method, path, body, status in [
            ("POST", "/db/execute", ["CREATE TABLE t(a)"], 200), ("POST", "/db/execute?queue&wait", ["INSERT INTO t VALUES(1)"], 200),
            ("GET", "/db/query?q=SELECT+*+FROM+t", None, 200), ("POST", "/db/query", ["SELECT * FROM t"], 200),
            ("POST", "/db/request", ["INSERT INTO t VALUES(2)", "SELECT * FROM t"], 200), ("GET", "/db/backup?fmt=sql", None, 200),
            ("POST", "/db/load", "INSERT INTO t VALUES(4)", 200), ("GET", "/db/sql?q=SELECT+1", None, 200), ("GET", "/status", None, 200),
            ("GET", "/nodes", None, 200), ("GET", "/readyz", None, 200), ("GET", "/leader", None, 200), ("POST", "/reap", "", 200),
            ("DELETE", "/remove", {"id": "nosuch", "x": "y"}, 400), ("POST", "/boot", "not a database, too short?", 400),
            ("GET", "/debug/vars", None, 200), ("GET", "/console/", None, 200), ("GET", "/nope", None, 404),
            ("OPTIONS", "/db/execute", None, 200)]:
        assert node.ask(method, path, body).status == status, path
    answer = node.post("/db/execute", ["SELECT 1"])
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="rqlite"'
