"""Whatever a client sends, it gets the status and the sentence of the specification, nobody else
notices, nothing crashes, and memory comes back."""
import json
import random
import resource
import socket
import struct
import threading
import time

import pytest

from conftest import PATIENCE, SANITIZED, read_all, wait_until

MIB = 1 << 20


@pytest.fixture
def ready(node):
    node.start()
    node.execute("CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO foo(name) VALUES('fiona')")
    yield node
    # whatever the test did: still the same process, still right
    assert node.alive(), node.log()[-3000:]
    assert node.query("SELECT name FROM foo WHERE id = 1") == [["fiona"]]
    assert node.execute("UPDATE foo SET name = 'fiona' WHERE id = 1")[0]["rows_affected"] == 1


def assert_text_error(answer, status, text, about=None):
    assert (answer.status, answer.text) == (status, text + "\n"), about
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Rqlite-Version"]


# --- bodies --------------------------------------------------------------------------------------

INVALID_JSON = [
    "", " ", "not json", "[", '["SELECT 1"', '["SELECT 1",', '["SELECT 1",]', '["SELECT 1" "SELECT 2"]', "['SELECT 1']",
    '\ufeff["SELECT 1"]', '["a\nb"]', '["\\x41"]', '["\\u12"]', '[["SELECT ?", 01]]', '[["SELECT ?", 1.]]', '[["SELECT ?", .5]]',
    '[["SELECT ?", +1]]', '[["SELECT ?", NaN]]', '[["SELECT ?", 1e]]', '[["SELECT ?", -]]', '[["SELECT ?", tru]]',
    '[["SELECT ?", {"a" 1}]]', '[["SELECT ?", {"a":1,}]]', '[["SELECT ?", {a:1}]]', "[,]", '["unterminated',
]
# Too deep; which of its faults is named is of no interest.
DEEP_JSON = [
    "[" * 65 + "]" * 65, "[" * 1000 + "]" * 1000, "[" * 1000000, '[["SELECT ?", ' + "[" * 1000 + "]" * 1000 + "]]",
    '[["SELECT ?", ' + "[" * 1000000, '[["SELECT ?", ' + '{"a":' * 1000 + "1" + "}" * 1000 + "]]",
    '[["SELECT ?", ' + '{"a":' * 200000,
]
INVALID_SHAPE = ["{}", '"SELECT 1"', "123", "null", "true", "[null]", "[1]", "[{}]", "[[]]", "[[1]]", '[["SELECT 1"], 7]',
                 "[[null]]", '{"statements":["SELECT 1"]}']
INVALID_PARAMETERS = [
    ('[["SELECT ?", 1E400]]', "invalid number 1E400"),
    ('[["SELECT ?", [256]]]', "unsupported type 256"),
    ('[["SELECT ?", [-1]]]', "unsupported type -1"),
    ('[["SELECT ?", [1.0]]]', "unsupported type 1.0"),
    ('[["SELECT ?", ["a"]]]', "unsupported type string"),
    ('[["SELECT ?", [true]]]', "unsupported type bool"),
    ('[["SELECT ?", [null]]]', "unsupported type null"),
    ('[["SELECT ?", [[1]]]]', "unsupported type array"),
    ('[["SELECT ?", [{}]]]', "unsupported type object"),
]


@pytest.mark.parametrize("path", ["/db/execute", "/db/query", "/db/request"])
def test_malformed_bodies(ready, path):
    c = ready.connect()
    for body in INVALID_JSON:
        assert_text_error(ready.post(path, body, connection=c), 400, "invalid JSON body", body)
    for body in DEEP_JSON:
        answer = ready.post(path, body, connection=c)
        assert answer.status == 400 and len(answer.text) < 100, answer
    for body in INVALID_SHAPE:
        assert_text_error(ready.post(path, body, connection=c), 400, "invalid request", body)
    assert_text_error(ready.post(path, "[]", connection=c), 400, "no statements")
    for body, text in INVALID_PARAMETERS:
        assert_text_error(ready.post(path, body, connection=c), 400, text)


def test_queued_writes_check_their_bodies(ready):
    for body in ["garbage", "", '["INSERT', "["]:
        assert_text_error(ready.post("/db/execute?queue", body), 400, "invalid JSON body")
    assert_text_error(ready.post("/db/execute?queue", "{}"), 400, "invalid request")
    assert_text_error(ready.post("/db/execute?queue", "[]"), 400, "no statements")
    assert ready.post("/db/execute?queue", ["PRAGMA wal_checkpoint"]).json == {"results": [], "error": "disallowed pragma"}


def test_json_after_the_list_is_ignored(ready):
    assert ready.post("/db/query", '["SELECT 1"]garbage').results[0]["values"] == [[1]]


def test_invalid_utf8_and_nul_in_strings(ready):
    body = b'[["INSERT INTO foo(id, name) VALUES(2, ?)", "a\xff\xc3(\xed\xa0\x80z"], ["INSERT INTO foo(id, name) VALUES(3, ?)", "x\\u0000y"]]'
    assert "error" not in ready.post("/db/execute", body).text
    raw = ready.post("/db/query", ["SELECT name FROM foo WHERE id = 2"]).body
    raw.decode("utf-8")  # what we send is always valid
    assert ready.one("SELECT name FROM foo WHERE id = 2") == "a\ufffd\ufffd(\ufffd\ufffd\ufffdz"
    assert ready.query("SELECT name, length(CAST(name AS BLOB)) FROM foo WHERE id = 3") == [["x\0y", 3]]
    # bytes that SQL makes are escaped on the way out
    assert b'\\ufffd' in ready.post("/db/query", ["SELECT CAST(x'ff41' AS TEXT)"]).body
    # SQL ends at a NUL; as text it is SQLite's to judge
    assert ready.post("/db/query", b'["SELECT 1\\u0000garbage"]').results[0]["values"] == [[1]]
    assert "error" in ready.post("/db/query", b'["SELECT \xff"]').results[0]


def test_hostile_sql(ready):
    for sql in ["(" * 10000, "SELECT " + "(" * 1000 + "1" + ")" * 1000, "SELECT " + "-" * 100000 + "1",
                "SELECT " + ",".join(["1"] * 3000), "x" * 100000, "SELECT '" + "a" * 100000, "\0", ";" * 10000, "/*"]:
        results = ready.post("/db/query", [sql]).results
        assert len(results) == 1
    assert ready.post("/db/query", ["SELECT " + "+".join(["1"] * 2000)]).results[0]["error"].startswith("Expression tree is too large")
    parameters = ["SELECT " + ",".join("?" for _ in range(1000)), *range(1000)]
    assert ready.post("/db/query", [parameters]).results[0]["values"] == [list(range(1000))]


# --- parameters, methods, paths ------------------------------------------------------------------


def test_malformed_parameters(ready):
    for query, text in [
        ("q=%zz", 'invalid URL escape "%zz"'),
        ("q=%", 'invalid URL escape "%"'),
        ("q=SELECT+1;x=2", "invalid semicolon separator in query"),
        ("q=", "query parameter not set"),
        ("q=SELECT+1&timeout=abc", "timeout is not a valid duration"),
        ("q=SELECT+1&timeout=", "timeout is not a valid duration"),
        ("q=SELECT+1&timeout=10", "timeout is not a valid duration"),
        ("q=SELECT+1&freshness=x", "freshness is not a valid duration"),
        ("q=SELECT+1&freshness_strict", "freshness_strict requires freshness"),
        ("q=SELECT+1&db_timeout=1x", "db_timeout is not a valid duration"),
        ("q=SELECT+1&linearizable_timeout=z", "linearizable_timeout is not a valid duration"),
        ("q=SELECT+1&retries=x", "retries is not a valid integer"),
        ("q=SELECT+1&retries=1.5", "retries is not a valid integer"),
        ("q=SELECT+1&retries=99999999999999999999", "retries is not a valid integer"),
        ("trailing_logs=0x1", "trailing_logs is not a valid integer"),
    ]:
        assert_text_error(ready.get("/db/query?" + query), 400, text)
        assert_text_error(ready.get("/nope?" + query), 400, text)  # before routing


def test_wrong_methods_and_paths(ready):
    for method, path in [("GET", "/db/execute"), ("PUT", "/db/execute"), ("DELETE", "/db/query"), ("PATCH", "/db/request"),
                         ("POST", "/db/backup"), ("GET", "/db/load"), ("PUT", "/status"), ("POST", "/nodes"), ("GET", "/snapshot"),
                         ("POST", "/readyz"), ("GET", "/remove"), ("GET", "/boot"), ("HEAD", "/db/query"), ("BREW", "/status")]:
        answer = ready.ask(method, path)
        assert (answer.status, answer.body) == (405, b""), (method, path)
    for path in ["/nope", "//readyz", "/db", "/db/", "/DB/query", "/%00", "/db%2", "/../etc/passwd", "/" + "a" * 60000]:
        answer = ready.get(path)
        assert answer.status in (404, 400) and (answer.status == 400 or answer.body == b""), path


# --- HTTP itself ---------------------------------------------------------------------------------

HOST = b"Host: x\r\n"


def status_of(reply):
    """The status of the only response in reply."""
    assert reply.startswith(b"HTTP/1."), reply[:100]
    return int(reply[9:12])


def test_malformed_http(ready):
    for request in [
        b"NONSENSE\r\n\r\n", b"GET\r\n\r\n", b"GET /readyz\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"\0" * 100 + b"\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\n\r\n",                                                         # no Host
        b"GE\x01T /readyz HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /readyz HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\n" + HOST + b" folded: x\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: 12\r\nContent-Length: 13\r\n\r\n[\"SELECT 1\"]",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"POST /db/query HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefg\r\n",
    ]:
        reply = ready.raw(request, timeout=5)
        assert reply and status_of(reply) == 400, request
        assert b"X-Rqlite-Version" not in reply, request  # before there is a request
        assert reply.count(b"HTTP/1.") == 1, request


def test_a_transfer_encoding_we_do_not_know(ready):
    reply = ready.raw(b"POST /db/query HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", timeout=15)
    assert status_of(reply) in (400, 501)


def test_oversized_headers(ready):
    for header in [b"A: " + b"x" * (2 * MIB), b"".join(b"H%d: x\r\n" % i for i in range(200000))]:
        reply = send_as_taken(ready, b"GET /readyz HTTP/1.1\r\n" + HOST + header + b"\r\n\r\n")
        assert reply == b"" or status_of(reply) == 431
    reply = send_as_taken(ready, b"GET /" + b"x" * (2 * MIB) + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert reply == b"" or status_of(reply) in (431, 414)
    assert status_of(ready.raw(b"GET /readyz HTTP/1.1\r\n" + HOST + b"Connection: close\r\nA: " + b"x" * 900000 + b"\r\n\r\n")) == 200


def send_as_taken(node, data):
    """Send as much as the node takes; what it answers.  It may close before it has everything."""
    with socket.create_connection(("127.0.0.1", node.http), PATIENCE) as s:
        try:
            s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_all(s)


def test_an_oversized_body_is_refused_before_it_is_sent(ready):
    for path in (b"/db/execute", b"/db/query", b"/db/request"):
        head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 300000000\r\n\r\n"
        reply = send_as_taken(ready, head + b"[")
        assert status_of(reply) == 413 and b"text/plain" in reply, path


def test_an_oversized_chunked_body_is_refused(ready):
    before = ready.rss()
    piece = b"100000\r\n" + b" " * MIB + b"\r\n"
    with socket.create_connection(("127.0.0.1", ready.http), PATIENCE) as s:
        s.sendall(b"POST /db/execute HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(300):
                s.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = read_all(s)
    assert reply == b"" or status_of(reply) == 413
    wait_memory(ready, before + 32 * MIB)


def wait_memory(node, limit):
    if not SANITIZED:  # sanitizers keep what is freed
        wait_until(lambda: node.rss() <= limit, "memory to come back below %d MiB: now %d MiB" % (limit // MIB, node.rss() // MIB), 20)


def test_a_body_of_100_mb_is_served_and_its_memory_comes_back(ready):
    text = "x" * 100_000_000
    before = ready.rss()
    assert ready.one("SELECT length(?)", text) == 100_000_000
    wait_memory(ready, before + 64 * MIB)
    assert_text_error(ready.post("/db/execute", '["' + text), 400, "invalid JSON body")
    assert_text_error(ready.post("/db/execute", "[" + "7," * 50_000_000), 400, "invalid request")
    wait_memory(ready, before + 64 * MIB)


def test_a_write_of_100_mb(node):
    node.start("-on-disk")
    node.execute("CREATE TABLE big(x)")
    before = node.rss()
    assert node.execute(["INSERT INTO big VALUES(?)", "x" * 100_000_000])[0]["rows_affected"] == 1
    assert node.one("SELECT max(length(x)) FROM big") == 100_000_000
    for _ in range(50):  # the newest entries may stay in memory
        node.execute("INSERT INTO big VALUES(1)")
    wait_memory(node, before + 64 * MIB)
    node.restart()
    assert node.one("SELECT max(length(x)) FROM big") == 100_000_000


def test_a_pipeline_with_garbage_behind_it(ready):
    good = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"
    reply = ready.raw(good * 3 + b"NONSENSE\r\n\r\n" + good)
    assert reply.count(b"HTTP/1.1 200") == 3 and reply.count(b"HTTP/1.1 400") == 1


def test_random_bytes(ready):
    rand = random.Random(4001)
    request = b"POST /db/query HTTP/1.1\r\n" + HOST + b"Content-Length: 12\r\nConnection: close\r\n\r\n[\"SELECT 1\"]"
    for _ in range(200):
        if rand.random() < 0.3:
            data = rand.randbytes(rand.randrange(1, 3000))
        else:
            data = bytearray(request)
            for _ in range(rand.randrange(1, 6)):
                data[rand.randrange(len(data))] = rand.randrange(256)
        try:
            ready.raw(bytes(data), timeout=5, half_close=True)
        except OSError:
            pass
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for _ in range(100):
        frames = b"".join(
            struct.pack(">I", rand.randrange(40) if rand.random() < 0.9 else rand.randrange(1 << 24))[1:]
            + bytes([rand.randrange(12), rand.randrange(256)]) + struct.pack(">I", rand.randrange(8)) + rand.randbytes(rand.randrange(40))
            for _ in range(rand.randrange(1, 20)))
        try:
            ready.raw(preface + frames, timeout=5, half_close=True)
        except OSError:
            pass


# --- clients that are slow, half open or gone -----------------------------------------------------


def connections(node):
    """How many connections the node holds on its HTTP port."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    local, established = "0100007F:%04X" % node.http, "01"
    return sum(row[1] == local and row[3] in (established, "08") for row in rows)  # 08: the client has closed


def test_a_client_that_has_stopped_sending_still_gets_its_answer(ready):
    body = b'["SELECT name FROM foo"]'
    reply = ready.raw(b"POST /db/query HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body, half_close=True)
    assert status_of(reply) == 200 and b"fiona" in reply


def test_clients_that_leave_in_the_middle(ready):
    big = b"POST /db/execute HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n[[\"INSERT INTO foo(name) VALUES('half a request')\""
    slow = b"GET /db/query?level=none&q=" + (b"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x%2B1 FROM c) SELECT count(*) FROM c"
                                              .replace(b" ", b"+")) + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for i in range(60):
        s = socket.create_connection(("127.0.0.1", ready.http), PATIENCE)
        s.sendall(slow if i % 10 == 0 else big)
        if i % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        s.close()
    wait_until(lambda: connections(ready) == 0, "closed connections")
    assert ready.one("SELECT count(*) FROM foo") == 1


def test_many_idle_connections(ready):
    idle = [socket.create_connection(("127.0.0.1", ready.http), PATIENCE) for _ in range(800)]
    assert ready.one("SELECT 1") == 1
    for s in idle[::2]:
        s.close()
    assert ready.one("SELECT 1") == 1
    idle[1].sendall(b"GET /readyz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert status_of(read_all(idle[1])) == 200
    for s in idle:
        s.close()


def test_a_low_soft_limit_of_open_files_is_raised(node):
    """A login has 1024 by default; what connections find is the hard limit."""
    node.start(command=["bash", "-c", 'ulimit -Sn 300 && exec "$0" "$@"', *node.command()])
    soft, hard = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def closed_after(s, limit, feed=None):
    """Seconds until the node closes s; feed() is called ten times a second."""
    start = time.monotonic()
    s.settimeout(0.1)
    while time.monotonic() - start < limit:
        try:
            if feed:
                s.sendall(feed())
            if not s.recv(65536):
                return time.monotonic() - start
        except socket.timeout:
            continue
        except OSError:
            return time.monotonic() - start
    return None


def test_slow_clients_are_dropped_and_block_nobody(ready):
    """Headers have 10 s; a body or a response that makes no progress has 60 s (HTTP API 16)."""
    ready.execute("CREATE TABLE big(x)", *["INSERT INTO big VALUES(zeroblob(1000000))"] * 20)

    def connect(data):
        s = socket.create_connection(("127.0.0.1", ready.http), PATIENCE)
        s.sendall(data)
        return s

    def stopped_reading():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", ready.http))
        s.sendall(b"GET /db/query?q=SELECT+hex(x)+FROM+big HTTP/1.1\r\n" + HOST + b"\r\n")
        return s

    head = b"GET /readyz HTTP/1.1\r\n" + HOST + b"X: "
    cases = {
        "silent after a part of its headers": (connect(head), None, 10),
        "one header byte at a time": (connect(head), lambda: b"x", 10),
        "silent in a body": (connect(b"POST /db/execute HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n[["), None, 60),
    }
    seconds = {}

    def watch(name, s, feed, limit):
        seconds[name] = (closed_after(s, limit + 25, feed), limit)

    threads = [threading.Thread(target=watch, args=(name, *case)) for name, case in cases.items()]
    stuck = stopped_reading()
    wait_until(lambda: connections(ready) == 4, "the connections of these four alone")
    for t in threads:
        t.start()
    served = 0
    while any(t.is_alive() for t in threads):
        assert ready.one("SELECT 1") == 1
        ready.execute("INSERT INTO foo(name) VALUES('meanwhile')")
        served += 1
        time.sleep(0.2)  # only to be no load
    assert served > 10, "a slow client blocks others"  # until it is dropped
    for t in threads:
        t.join()
    for name, (took, limit) in seconds.items():
        assert took is not None and limit - 2 <= took <= limit + 15, (name, took)
    # The one that stopped reading is gone as well, though it cannot see that before it reads.
    wait_until(lambda: connections(ready) == 0, "the connection of a client that reads nothing to be closed", 30)
    stuck.close()


def test_json_nesting_in_answers_is_no_recursion(ready):
    deep = "[" * 900 + "]" * 900
    assert json.loads(ready.one("SELECT json(?)", deep)) is not None
    assert "error" in ready.post("/db/query", [["SELECT json(?)", "[" * 3000 + "]" * 3000]]).results[0]
