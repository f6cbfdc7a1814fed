"""Clients that mean harm: each is turned away, and others are served meanwhile and afterwards."""
import resource
import socket
import struct
import urllib.parse

import pytest

import frames
from conftest import SANITIZED, read_all, wait_until
from frames import (CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client,
                    frame)


def fine(node):
    assert node.get("/db/query?q=SELECT%201").results == [{"columns": ["1"], "types": ["integer"], "values": [[1]]}]


GET = b"GET /readyz?noleader HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /db/query HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("data", [
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n[]\r\n\r\n" + SECOND,
    POST + b"Content-Length: 5, 6\r\n\r\n[]\r\n\r\n" + SECOND,
    POST + b"Content-Length: +5\r\n\r\n12345" + SECOND,
    POST + b"Content-Length: -1\r\n\r\n" + SECOND,
    POST + b"Content-Length: 99999999999999999999\r\n\r\n" + SECOND,
    POST + b"Content-Length : 0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
    POST + b"X: y\n Transfer-Encoding: chunked\r\n\r\n" + SECOND,
    GET + b"X: y\r\n folded: z\r\n\r\n" + SECOND,
    GET + b"\tX: y\r\n\r\n" + SECOND,
    GET + b"X: y\nZ: z\r\n\r\n" + SECOND,
    GET.replace(b"\r\n", b"\n") + b"\n" + SECOND,
    GET + b"X\0Y: z\r\n\r\n" + SECOND,
    GET + b"X: y\0z\r\n\r\n" + SECOND,
    GET + b"Host: y\r\n\r\n" + SECOND,
    GET + b": nameless\r\n\r\n" + SECOND,
    b"GET  /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND,
    b"GET /readyz HTTP/1.1 \r\nHost: x\r\n\r\n" + SECOND,
    b"GET /readyz\r\n\r\n" + SECOND,
    b"GET /readyz HTTP/1.1\r\n\r\n" + SECOND,
])
def test_no_request_is_smuggled(running_node, data):
    got = running_node.raw(data, half_close=True)
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert got.count(b"HTTP/1.1 ") == 1  # nothing behind it was taken for a request
    fine(running_node)


@pytest.mark.parametrize("chunks", [
    b"fffffffffffffffff\r\n",
    b"ffffffffffffffff\r\nx",
    b"5 \r\n12345\r\n0\r\n\r\n",
    b"0x5\r\n12345\r\n0\r\n\r\n",
    b"-5\r\n12345\r\n0\r\n\r\n",
    b"5\r\n1234567\r\n0\r\n\r\n",
    b"5\n12345\n0\n\n",
    b"1;" + b"x" * 100000 + b"\r\n1\r\n0\r\n\r\n",
    b"1;e=1\r\n1\r\n" * 20000,
    b"0\r\n" + b"X-Trailer: y\r\n" * 20000,
])
def test_bad_chunks_end_the_connection(running_node, chunks):
    got = running_node.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SECOND, half_close=True)
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")) or got == b""
    assert b"404" not in got
    fine(running_node)


def test_header_bombs(running_node):
    for bomb in (b"X: y\r\n" * 300000, b"X: " + b"y" * 2000000, b"X" * 2000000, b"\r\n" * 1000000):
        with socket.create_connection(("127.0.0.1", running_node.http), 60) as s:
            try:
                s.sendall(GET + bomb if bomb != b"\r\n" * 1000000 else bomb)
            except OSError:
                pass
            got = read_all(s) if bomb[:2] != b"\r\n" else b""
        assert b" 200 " not in got
        fine(running_node)


def test_many_small_headers_within_the_limit_are_served(running_node):
    got = running_node.raw(GET + b"X: y\r\n" * 100000 + b"Connection: close\r\n\r\n")
    assert got.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    fine(running_node)


def test_a_pipeline_without_end(running_node):
    """Answers that nobody reads do not pile up; those that are read come in order."""
    before = running_node.rss()
    one = b"GET /db/query?q=SELECT%20printf('%25.*c',%2010000,%20'x') HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running_node.http), 60) as s:
        s.settimeout(1)
        sent = 0
        try:
            while sent < 100 << 20:
                sent += s.send(one * 100)
        except socket.timeout:
            pass
        assert sent < 100 << 20
        if not SANITIZED:
            assert running_node.rss() - before < 32 << 20
        fine(running_node)
    got = running_node.raw(b"".join(b"GET /db/query?q=SELECT%%20%d HTTP/1.1\r\nHost: x\r\n%s\r\n" %
                                    (i, b"Connection: close\r\n" if i == 999 else b"") for i in range(1000)))
    at = [got.index(b"[[%d]]" % i) for i in range(1000)]
    assert at == sorted(at)


def test_slow_clients_are_cut_off(node):
    node.start("-http-header-timeout", "300ms", "-http-stall-timeout", "300ms", "-http-idle-timeout", "300ms")
    for begun in (b"", b"GET / HT", GET + b"X: y\r\n", POST + b"Content-Length: 100\r\n\r\n[",
                  POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12", frames.PREFACE[:10],
                  frames.PREFACE + frame(SETTINGS), frames.PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, b"\x82"),
                  frames.PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1,
                                                           frames.request("/db/query", "POST"))):
        with socket.create_connection(("127.0.0.1", node.http), 60) as s:
            s.sendall(begun)
            read_all(s)  # until the node closes
        fine(node)


def test_headers_that_drip_do_not_keep_a_connection(node):
    """Each byte is progress, but the time for all of them is limited."""
    node.start("-http-header-timeout", "500ms")
    with socket.create_connection(("127.0.0.1", node.http), 60) as s:
        s.sendall(GET)

        def refused():
            try:
                s.sendall(b"X: y\r\n")
                return False
            except OSError:
                return True
        wait_until(refused, "the end of the connection", pause=0.02)
    fine(node)


# --- HTTP/2 -------------------------------------------------------------------------------


def flood(node, make, most=200000):
    """Send make(i), a few at a time, until the node closes.  It does, before all are sent."""
    with Client(node.http) as c:
        for i in range(0, most, 100):
            if not c.send(*(make(k) for k in range(i, i + 100))):
                break
        c.s.settimeout(20)
        try:
            c.until(lambda *_: False)
        except socket.timeout:
            return False
        return True


def test_rapid_reset(running_node):
    def make(i):
        stream = 2 * i + 1
        return (frame(HEADERS, END_STREAM | END_HEADERS, stream, frames.request("/db/query?q=SELECT%201")) +
                frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
    assert flood(running_node, make, 20000)
    fine(running_node)


def test_rapid_mistakes_that_we_have_to_reset(running_node):
    """The same with a fault in each stream instead, so that it is the node that resets it."""
    def make(i):
        stream = 2 * i + 1
        return (frame(HEADERS, END_STREAM | END_HEADERS, stream, frames.request("/db/query?q=SELECT%201")) +
                frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 0x7fffffff)))
    assert flood(running_node, make, 20000)
    fine(running_node)


def test_continuation_flood(running_node):
    def make(i):
        if i == 0:
            return frame(HEADERS, END_STREAM, 1, frames.request())
        return frame(CONTINUATION, 0, 1, frames.field("x", "y" * 100))
    assert flood(running_node, make)
    fine(running_node)


def test_empty_continuation_flood(running_node):
    assert flood(running_node, lambda i: frame(CONTINUATION, 0, 1) if i else frame(HEADERS, END_STREAM, 1, frames.request()),
                 2000000)
    fine(running_node)


def test_header_list_bomb(running_node):
    """A few bytes on the wire that stand for megabytes: one field of the dynamic table, over and over."""
    big = b"\x40" + frames.text("x") + frames.text("y" * 4000)  # into the table
    with Client(running_node.http) as c:
        c.send(frame(HEADERS, 0, 1, frames.request() + big),
               *(frame(CONTINUATION, 0, 1, b"\xbe" * 16000) for _ in range(20)),
               frame(CONTINUATION, END_HEADERS, 1, b""))
        c.until(lambda kind, flags, stream, payload: kind in (GOAWAY, RST_STREAM, HEADERS))
    fine(running_node)


@pytest.mark.parametrize("make", [lambda i: frame(PING, 0, 0, b"12345678"),
                                  lambda i: frame(SETTINGS, 0, 0, struct.pack(">HI", 3, i + 1))])
def test_floods_of_frames_that_want_answers(running_node, make):
    """A client that reads no answers: they do not pile up."""
    before = running_node.rss()
    with Client(running_node.http) as c:
        c.s.settimeout(2)
        try:
            for i in range(0, 400000, 1000):
                if not c.send(*(make(k) for k in range(i, i + 1000))):
                    break
        except socket.timeout:
            pass
        if not SANITIZED:
            assert running_node.rss() - before < 32 << 20
        fine(running_node)


def test_more_streams_than_allowed(running_node):
    slow = "/db/query?q=" + urllib.parse.quote(
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300000) SELECT max(i) FROM c")
    with Client(running_node.http) as c:
        for i in range(300):
            c.get(2 * i + 1, slow)
        seen, f = c.until(lambda kind, *_: kind in (RST_STREAM, GOAWAY))
        assert f
    fine(running_node)


def test_idle_connections_cost_little(running_node):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(2000, (hard if hard > 0 else 4096) - 200)
    if soft < n + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n + 200, hard))
    before = running_node.rss()
    held = []
    try:
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", running_node.http), 60)
            s.sendall(GET + b"\r\n")
            held.append(s)
        for s in held:
            assert s.recv(4096)
        fine(running_node)
        if not SANITIZED:
            assert running_node.rss() - before < n * 8192
    finally:
        for s in held:
            s.close()


@pytest.fixture(scope="module")
def running_node(tmp_path_factory):
    from conftest import Node
    node = Node(str(tmp_path_factory.mktemp("hostile")))
    node.start()
    yield node
    node.clean_up()
