"""Logs for programs: JSON lines, the access log, the slow-query log, request IDs."""
import json
import os
import re
import socket

import pytest

from conftest import basic, run, wait_until

SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d) SELECT count(*) FROM c"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"
TEXT_LINE = re.compile(r"\[[a-z-]+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d .*")


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def access(directory):
    return os.path.join(directory, "access")


def read(path):
    with open(path) as f:
        return f.read()


def wait_lines(path, n):
    wait_until(lambda: os.path.exists(path) and read(path).count("\n") >= n, "%d lines in the access log" % n)
    return read(path).splitlines()


def test_text_is_the_default(node):
    node.start().stop()
    assert node.log()
    for line in node.log().splitlines():
        assert TEXT_LINE.fullmatch(line), line


def test_json_is_an_object_a_line(node):
    node.start("-log-format", "json").stop()
    lines = json_lines(node.log())
    assert len(lines) > 10
    for line in lines:
        assert list(line)[:4] == ["time", "level", "component", "msg"]
        assert re.fullmatch(TIME, line["time"]) and line["level"] in ("debug", "info", "warn", "error")
    assert any(l["msg"].startswith("node HTTP API available at http://") and l["component"] == "rqlited" for l in lines)


def test_the_last_words_are_json_too(node, directory):
    path = os.path.join(directory, "file")
    open(path, "w").close()
    status, _, err = run("-log-format", "json", path)
    assert status == 1
    assert json_lines(err)[-1]["level"] == "error"


def test_an_unknown_format_is_refused(directory):
    assert run("-log-format", "xml", directory) == (1, "", "fatal: log format must be text or json\n")


# --- request IDs ---------------------------------------------------------------------------------


def test_a_request_id_comes_back(node):
    node.start()
    for path in ("/readyz", "/nope", "/status", "/db/query?q=SELECT%201"):
        assert node.get(path, headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
        assert node.get(path).headers.get("X-Request-Id") is None
    for bad in ("", "a b", "x" * 129, "\xe9"):
        assert node.get("/readyz", headers={"X-Request-Id": bad}).headers.get("X-Request-Id") is None
    assert node.get("/readyz", headers={"x-request-id": "x" * 128}).headers["X-Request-Id"] == "x" * 128


def test_with_a_log_every_request_has_an_id(node, access):
    node.start("-access-log", access)
    ids = {node.get("/readyz").headers["X-Request-Id"] for _ in range(20)}
    assert len(ids) == 20 and all(re.fullmatch("[0-9a-f]{16}", i) for i in ids)
    wait_until(lambda: all(i in read(access) for i in ids), "all IDs in the log")


# --- the access log ------------------------------------------------------------------------------


def test_the_access_log_has_a_line_for_each_request(node, access):
    node.start("-access-log", access)
    body = node.post("/db/execute", ["CREATE TABLE t (a)"], headers={"X-Request-Id": "id-1"}).body
    node.get("/nope?x=%22y", headers={"X-Request-Id": "id-2"})
    node.get("/db/query?level=none&q=" + "+".join(["SELECT"] * 40), headers={"X-Request-Id": "id-3"})
    wait_until(lambda: all("id-%d" % i in read(access) for i in (1, 2, 3)), "the lines")
    lines = {l.split()[-1]: l for l in read(access).splitlines()}
    head = r"127\.0\.0\.1:\d+ - \[%s\] " % TIME
    assert re.fullmatch(head + r'"POST /db/execute" 200 %d [\d.e-]+ id-1' % len(body), lines["id-1"]), lines["id-1"]
    assert re.fullmatch(head + r'"GET /nope\?x=%22y" 404 0 [\d.e-]+ id-2', lines["id-2"]), lines["id-2"]
    shown = re.search(r'"GET /db/query\?level=none&q=(\S+)" 200 ', lines["id-3"])[1]
    assert shown == "+".join(["SELECT"] * 40)[:64] + "..."


def test_the_access_log_in_json(node, access):
    node.start("-access-log", access, "-log-format", "json")
    node.get('/db/query?q=SELECT%201&x="', headers={"X-Request-Id": "id-1"})
    wait_until(lambda: "id-1" in read(access), "the line")
    line = next(l for l in json_lines(read(access)) if l["request_id"] == "id-1")
    assert list(line) == ["time", "component", "client", "method", "target", "status", "bytes", "duration", "request_id"]
    assert (line["method"], line["target"], line["status"]) == ("GET", "/db/query?q=SELECT%201&x=%22", 200)
    assert line["bytes"] > 0 and line["duration"] > 0 and line["client"].startswith("127.0.0.1:")


def test_a_user_name_cannot_forge_a_line(node, access):
    node.start("-access-log", access)
    node.get("/readyz", headers={"Authorization": basic("a\nb:x"), "X-Request-Id": "id-1"})
    wait_until(lambda: "id-1" in read(access), "the line")
    line = next(l for l in read(access).splitlines() if l.endswith(" id-1"))
    assert re.match(r'127\.0\.0\.1:\d+ "a\\nb" \[', line), line


def test_a_moved_access_log_is_opened_anew(node, access):
    node.start("-access-log", access)
    node.get("/readyz", headers={"X-Request-Id": "before"})
    wait_until(lambda: "before" in read(access), "the first line")
    os.rename(access, access + ".1")
    node.get("/readyz", headers={"X-Request-Id": "after"})
    wait_until(lambda: os.path.exists(access) and "after" in read(access), "the new file")
    assert "after" not in read(access + ".1")


def test_nothing_of_the_access_log_is_lost_at_the_end(node, access):
    node.start("-access-log", access)
    for i in range(50):
        node.get("/readyz", headers={"X-Request-Id": "id-%d" % i})
    node.stop()
    assert all(" id-%d\n" % i in read(access) for i in range(50))


def test_the_access_log_on_stderr(node):
    node.start("-access-log", "stderr", "-log-format", "json")
    node.get("/readyz", headers={"X-Request-Id": "id-1"})
    assert json.loads(node.wait_log("id-1"))["component"] == "access"


def test_an_access_log_that_cannot_be_written_ends_the_start(node, directory):
    node.launch("-access-log", os.path.join(directory, "no", "such"))
    assert node.wait_end() == 1
    assert "failed to open access log" in node.log().splitlines()[-1]


def test_a_client_that_left_is_in_the_access_log(node, access):
    node.start("-access-log", access)
    s = socket.create_connection(("127.0.0.1", node.http))
    sql = (SLOW % 10**12).replace(" ", "+").replace("x+1", "x%2b1")
    s.sendall(b"GET /db/query?q=" + sql.encode() + b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\n\r\n")
    wait_until(lambda: node.get("/status").json["store"]["sqlite3"]["conn_pool_stats"]["ro"]["in_use"] > 1,
               "the read to begin")
    s.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
    s.close()
    wait_until(lambda: "left" in read(access), "the line")
    assert " 499 0 " in next(l for l in read(access).splitlines() if l.endswith(" left"))


# --- the slow-query log --------------------------------------------------------------------------


def test_slow_queries_are_logged_without_parameters(node):
    node.start("-slow-query-ms", "20")
    node.post("/db/query?level=none", [[SLOW % 400000 + " WHERE x <> ?", "secret"]], headers={"X-Request-Id": "id-1"})
    line = node.wait_log("slow query")
    assert re.match(r"\[http\] \S+ \S+ slow query duration=[\d.]+m?s rows=1 statements=1 consistency=none "
                    r"client=127\.0\.0\.1:\d+ request_id=id-1 sql=\"WITH RECURSIVE", line), line
    assert "secret" not in node.log()


def test_slow_writes_and_failures_are_logged_in_json(node):
    node.start("-slow-query-ms", "20", "-log-format", "json")
    node.execute("CREATE TABLE t (a, b)")
    insert = "INSERT INTO t " + (SLOW % 300000).replace("count(*)", "count(*), '%s'" % ("é" * 2000))
    node.post("/db/execute", [insert], headers={"X-Request-Id": "id-1"})
    line = json.loads(node.wait_log('"id-1"'))  # on a busy machine the first request may be slow, too
    assert (line["level"], line["component"], line["msg"]) == ("warn", "http", "slow query")
    assert "sql" in line and line["rows"] == 1 and line["duration"] >= 0.02
    assert line["sql"].startswith("INSERT INTO t WITH") and 1000 <= len(line["sql"].encode()) <= 1024
    assert "\ufffd" not in line["sql"]


def test_quick_queries_are_not_logged(node):
    node.start("-slow-query-ms", "60000")
    node.query(SLOW % 1000)
    assert "slow query" not in node.log()


def test_a_slow_batch_of_queued_writes_is_logged(node):
    node.start("-slow-query-ms", "20", "-log-format", "json")
    node.execute("CREATE TABLE t (a)")
    insert = "INSERT INTO t " + SLOW % 300000
    node.post("/db/execute?queue&wait", [insert, "INSERT INTO t VALUES (1)"])
    line = json.loads(node.wait_log("slow batch"))
    assert (line["requests"], line["statements"]) == (1, 2) and line["duration"] >= 0.02
