"""Large results leave while their statement runs: in little memory, as fast as the client takes them."""
import http.client
import json
import os
import signal
import socket
import urllib.parse

import pytest

from conftest import SANITIZED, wait_until

ROWS = 300000 if SANITIZED else 3000000
MEMORY = 64 << 20
ENDLESS = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT i, 'row number '||i FROM c"
SILENT = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT max(i) FROM c"


def rows(n=ROWS):
    return ("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) "
            "SELECT i, 'row number '||i AS t FROM c" % n)


def path(sql, more=""):
    return "/db/query?q=" + urllib.parse.quote(sql) + more


def begin(node, target, body=None, version="1.1"):
    """Send a request; the connection, from which nothing was read yet."""
    s = socket.create_connection(("127.0.0.1", node.http), 60)
    body = body or b""
    s.sendall(b"%s %s HTTP/%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
        b"POST" if body else b"GET", target.encode(), version.encode(), len(body)) + body)
    return s


def read_watched(node, target, watched=None, **more):
    """The length, the end and the Content-Length of an answer, whose reading costs the nodes little memory."""
    watched = watched or [node]
    before = [n.rss() for n in watched]
    c = node.connect()
    c.request(more.get("method", "GET"), target, more.get("body"))
    r = c.getresponse()
    assert r.status == 200
    length, last, count = 0, b"", 0
    while True:
        piece = r.read(1 << 18)
        if not piece:
            break
        length += len(piece)
        last = (last + piece)[-300:]
        count += 1
        if count % 50 == 0 and not SANITIZED:
            for n, was in zip(watched, before):
                assert n.rss() - was < MEMORY
    c.close()
    return length, last, r


def expected_length(n=ROWS):
    digits = sum(len(str(10 ** k)) * (min(n, 10 ** (k + 1) - 1) - 10 ** k + 1) for k in range(len(str(n))))
    head = len('{"results":[{"columns":["i","t"],"types":["integer","text"],"values":[') + len("]}]}")
    return head + 2 * digits + n * len('[,"row number "],') - 1


@pytest.mark.parametrize("more", ["&level=none", "&level=weak", "&level=linearizable"])
def test_a_large_result_costs_little_memory(node, more):
    node.start("-on-disk")
    node.query("SELECT 1", params="?level=linearizable")  # the first one of a term goes through the log
    length, last, answer = read_watched(node, path(rows(), more))
    assert length == expected_length()
    assert last.endswith(b'[%d,"row number %d"]]}]}' % (ROWS, ROWS))
    assert answer.headers["Content-Length"] is None
    assert answer.headers["X-Rqlite-Served-By"] == "127.0.0.1:%d" % node.http
    assert node.one("SELECT 1") == 1


def test_every_form_is_streamed(node):
    node.start()
    n = 50000
    plain = [[i, "row number %d" % i] for i in range(1, n + 1)]
    for more in ("", "&pretty", "&timings", "&raft_index"):
        assert node.get(path(rows(n), more)).results[0]["values"] == plain
    assert node.get(path(rows(n), "&associative")).results[0]["rows"] == [{"i": i, "t": t} for i, t in plain]
    several = node.post("/db/query", [rows(n), "SELECT 1", rows(5)]).results
    assert [len(r["values"]) for r in several] == [n, 1, 5]
    many = node.post("/db/query", ["SELECT '%s'" % ("x" * 1000)] * 500).results
    assert len(many) == 500 and all(r["values"] == [["x" * 1000]] for r in many)
    assert node.post("/db/request", [rows(n)]).results[0]["values"] == plain
    huge = node.query("SELECT printf('%.*c', 3000000, 'x')")[0][0]
    assert huge == "x" * 3000000


def test_a_client_of_http_1_0_reads_until_the_end(node):
    node.start()
    with begin(node, path(rows(50000)), version="1.0") as s:
        got = b""
        while True:
            piece = s.recv(1 << 18)
            if not piece:
                break
            got += piece
    head, body = got.split(b"\r\n\r\n", 1)
    assert b"Transfer-Encoding" not in head and b"Connection: close" in head
    assert len(json.loads(body)["results"][0]["values"]) == 50000


def test_a_small_answer_has_its_length(node):
    node.start()
    assert node.get(path("SELECT 1")).headers["Content-Length"] is not None
    assert node.get(path(rows(100))).headers["Content-Length"] is not None


def test_a_follower_passes_rows_on(cluster):
    cluster.start(3)
    leader, follower = cluster.leader(), cluster.follower()
    length, last, answer = read_watched(follower, path(rows()), [leader, follower])
    assert length == expected_length() and last.endswith(b"]]}]}")
    assert answer.headers["X-Rqlite-Served-By"] == "127.0.0.1:%d" % leader.raft
    length, _, _ = read_watched(follower, "/db/request", [leader, follower], method="POST", body=json.dumps([rows()]))
    assert length == expected_length()
    assert follower.post("/db/request", ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1) RETURNING x"]).status == 200


def failing(n):
    """A query that fails when n rows are out."""
    return rows(n) + " UNION ALL SELECT abs(-9223372036854775808), 'x'"


def test_an_error_before_the_first_bytes_is_told_as_ever(node):
    node.start()
    result = node.post("/db/query", [failing(10), "SELECT 1"]).results
    assert result == [{"error": "integer overflow"}, {"columns": ["1"], "types": ["integer"], "values": [[1]]}]
    infinite = node.get(path("SELECT 9e999"))
    assert (infinite.status, infinite.text) == (500, "unsupported value: +Inf\n")


@pytest.mark.parametrize("sql", [failing(100000), rows(100000) + " UNION ALL SELECT 9e999, 'x'"])
@pytest.mark.parametrize("through", ["leader", "follower"])
def test_an_error_after_the_first_bytes_cuts_the_answer_off(cluster, sql, through):
    cluster.start(1 if through == "leader" else 2)
    node = cluster.leader() if through == "leader" else cluster.follower()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        node.get(path(sql))
    assert node.one("SELECT 1") == 1


# A query is answered only when no other runs.
ONE_READER = ("-db-max-ro-conns", "1")


@pytest.mark.parametrize("sql", [ENDLESS, SILENT])
def test_a_client_that_leaves_ends_its_query(node, sql):
    node.start(*ONE_READER)
    s = begin(node, path(sql))
    if sql == ENDLESS:
        assert s.recv(100000).startswith(b"HTTP/1.1 200 OK\r\n")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    s.close()
    assert node.one("SELECT 1") == 1


@pytest.mark.parametrize("sql", [ENDLESS, SILENT])
def test_a_client_that_leaves_a_follower_ends_its_query_on_the_leader(cluster, sql):
    cluster.start(2, *ONE_READER)
    leader, follower = cluster.leader(), cluster.follower()
    s = begin(follower, path(sql))
    if sql == ENDLESS:
        assert s.recv(100000).startswith(b"HTTP/1.1 200 OK\r\n")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
    assert leader.one("SELECT 1") == 1


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_a_client_that_does_not_read_is_cut_off(cluster, through):
    cluster.start(1 if through == "leader" else 2, *ONE_READER, "-http-stall-timeout", "500ms")
    leader = cluster.leader()
    with begin(leader if through == "leader" else cluster.follower(), path(ENDLESS)) as s:
        assert s.recv(1)
        assert leader.one("SELECT 1") == 1  # as soon as the reader was given up
        with pytest.raises((ConnectionError, EOFError)):
            while True:
                if not s.recv(1 << 20):
                    raise EOFError


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_clients_that_do_not_read_cannot_keep_all_readers(cluster, through):
    """Long before the stall timeout: when others wait for the readers."""
    cluster.start(1 if through == "leader" else 2, "-db-max-ro-conns", "2", "-http-stall-timeout", "1h")
    leader = cluster.leader()
    asked = leader if through == "leader" else cluster.follower()
    held = [begin(asked, path(ENDLESS)) for _ in range(4)]
    try:
        for s in held[:2]:
            assert s.recv(1)
        assert leader.one("SELECT 1") == 1
        assert leader.get("/readyz").status == 200
    finally:
        for s in held:
            s.close()


def test_a_leader_that_dies_cuts_the_answer_off(cluster):
    cluster.start(3)
    leader, follower = cluster.leader(), cluster.follower()
    c = follower.connect()
    c.request("GET", path(ENDLESS))
    r = c.getresponse()
    assert r.read(100000)
    leader.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        while r.read(1 << 20):
            pass
    c.close()
    leader.start()


def test_a_node_that_ends_waits_for_no_endless_answer(node):
    node.start()
    with begin(node, path(ENDLESS)) as s:
        assert s.recv(1000)
        node.process.send_signal(signal.SIGTERM)
        assert node.wait_end() == 0


def test_what_is_kept_in_memory_has_a_budget(node):
    node.start("-http-max-memory", str(4 << 20))
    node.execute("CREATE TABLE t(x)")
    node.execute("INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200000) "
                 "SELECT 'row number '||i FROM c")
    for _ in range(3):  # nothing of the budget is lost
        strong = node.get(path("SELECT * FROM t", "&level=strong"))
        assert strong.status == 500 and "too much memory" in strong.text
    written = node.post("/db/execute", ["UPDATE t SET x=x||'!' RETURNING x"])
    assert written.status == 500 and "the statements were run" in written.text
    assert node.one("SELECT count(*) FROM t WHERE x LIKE '%!'") == 200000
    assert len(node.query("SELECT * FROM t")) == 200000  # streamed
    body = json.dumps(["SELECT '%s'" % ("x" * (5 << 20))])
    busy = node.post("/db/query", body)
    assert busy.status == 503 and busy.headers["Retry-After"] == "1"
    assert node.get(path("SELECT x FROM t LIMIT 3", "&level=strong")).status == 200


def test_queued_writes_count_until_they_are_written(node):
    node.start("-http-max-memory", str(4 << 20), "-write-queue-batch-size", "3", "-write-queue-timeout", "1h")
    node.execute("CREATE TABLE t(x)")
    big = json.dumps(["INSERT INTO t VALUES ('%s')" % ("x" * (1 << 20))])
    for _ in range(2):
        assert [node.post("/db/execute?queue", big).status for _ in range(3)] == [200, 200, 503]
        assert node.post("/db/execute?queue&wait", ["INSERT INTO t VALUES ('small')"]).status == 200
    assert node.one("SELECT count(*) FROM t") == 6


def test_limits_are_flags(node):
    node.start("-http-max-body-bytes", "1000", "-http-max-header-bytes", "2000", "-http-max-requests", "1")
    assert node.post("/db/execute", ["SELECT '%s'" % ("x" * 2000)]).status == 413
    assert node.get("/status", headers={"X-Long": "x" * 3000}).status == 431
    with begin(node, path(ENDLESS)) as s:
        assert s.recv(1000)
        busy = node.get(path("SELECT 1"))
        assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
        assert node.get("/status?key=http").status == 200  # who looks after the node gets in
    wait_until(lambda: node.get(path("SELECT 1")).status == 200, "a free place")


def test_connections_above_the_limit_wait(node):
    node.start("-http-max-conns", "3")
    held = [node.connect() for _ in range(3)]
    for c in held:
        assert node.ask("GET", "/readyz?noleader", connection=c).status in (200, 503)
    with begin(node, "/readyz") as s:
        s.settimeout(0.3)
        with pytest.raises(socket.timeout):
            s.recv(100)
        for c in held:
            c.close()
        s.settimeout(60)
        assert s.recv(100).startswith(b"HTTP/1.1 200")


def test_a_follower_redirects_before_it_reads_the_statements(cluster):
    cluster.start(2)
    leader, follower = cluster.leader(), cluster.follower()
    for target, body in (("/db/execute", "not JSON"), ("/db/execute", "[]"), ("/db/query", "{"),
                         ("/db/request", '["PRAGMA journal_mode=DELETE"]'), ("/db/query?level=strong", "[]")):
        target += "&redirect" if "?" in target else "?redirect"
        answer = follower.post(target, body)
        assert answer.status == 301
        assert answer.headers["Location"] == "http://127.0.0.1:%d%s" % (leader.http, target)
        assert leader.post(target, body).status in (200, 400)
    assert follower.post("/db/execute", "not JSON").status == 400
    assert follower.post("/db/query?redirect&level=none", "not JSON").status == 400
