"""HTTP/2 in clear text: by prior knowledge and by an upgrade, with the tools people have, and frame by frame."""
import json
import shutil
import signal
import struct
import subprocess
import urllib.parse

import pytest

import frames
from conftest import PATIENCE
from frames import (DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client,
                    frame)

ONE = '{"results":[{"columns":["1"],"types":["integer"],"values":[[1]]}]}'
BIG = ("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) SELECT i, 'row number '||i FROM c")
ENDLESS = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT i, 'row number '||i FROM c"


def url(node, path):
    return "http://127.0.0.1:%d%s" % (node.http, path)


def query(sql):
    return "/db/query?q=" + urllib.parse.quote(sql)


def run(tool, *args):
    if shutil.which(tool) is None:
        pytest.skip(tool + " is not installed (packages curl and nghttp2-client)")
    return subprocess.run([tool, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE, check=True,
                          encoding="utf-8").stdout


@pytest.mark.parametrize("how", ["--http2-prior-knowledge", "--http2"])
def test_curl(node, how):
    node.start()
    version = ["-s", how, "-w", " %{http_version}"]
    assert run("curl", *version, url(node, query("SELECT 1"))) == ONE + " 2"
    assert run("curl", *version, "-X", "POST", "-d", '["CREATE TABLE t(x)"]', url(node, "/db/execute")).startswith(
        '{"results":[{}]}')
    got = run("curl", "-s", how, url(node, query(BIG % 200000)))
    assert len(json.loads(got)["results"][0]["values"]) == 200000
    assert run("curl", "-s", how, "-o", "/dev/null", "-w", "%{http_code}", url(node, "/nothing")) == "404"


def test_an_upgrade_with_a_body_stays_with_http_1(node):
    node.start()
    got = run("curl", "-s", "--http2", "-w", " %{http_version}", "-d", '["SELECT 1"]', url(node, "/db/query"))
    assert got == ONE + " 1.1"


def test_an_upgrade_without_sense_is_ignored(node):
    node.start()
    for more in (b"Upgrade: h2c\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
                 b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !\r\n",
                 b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk" + b"A" * 5000 + b"\r\n",
                 b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket\r\nHTTP2-Settings: \r\n"):
        got = node.raw(b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\nGET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (
            query("SELECT 1").encode(), more))
        assert got.startswith(b"HTTP/1.1 200 OK\r\n") and ONE.encode() in got and b"HTTP/1.1 404" in got


def test_nghttp_upgrades(node):
    node.start()
    assert ONE in run("nghttp", "-u", url(node, query("SELECT 1")))


def test_h2load_with_many_streams(node):
    node.start()
    got = run("h2load", "-n", "2000", "-c", "2", "-m", "100", url(node, query("SELECT 1")))
    assert "2000 succeeded, 0 failed, 0 errored" in got


def test_a_body_waits_for_its_window(node):
    """A client that opens its window slowly gets all, in order; another stream goes on meanwhile."""
    node.start()
    with Client(node.http, struct.pack(">HI", 4, 1000)) as c:  # SETTINGS_INITIAL_WINDOW_SIZE
        c.get(1, query(BIG % 20000))
        _, f = c.until(lambda kind, flags, stream, payload: kind == DATA)
        body = f[3]
        assert 0 < len(body) <= 1000
        c.get(3)
        while f[2] != 3 or f[0] != DATA or not f[1] & END_STREAM:
            f = c.read()
            body += f[3] if f[0] == DATA and f[2] == 1 else b""
        assert len(body) == 1000
        while not (f[0] == DATA and f[2] == 1 and f[1] & END_STREAM):
            c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 30000)), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 30000)))
            f = c.read()
            body += f[3] if f[0] == DATA and f[2] == 1 else b""
        assert len(json.loads(body)["results"][0]["values"]) == 20000


def test_a_reset_ends_the_query(node):
    node.start("-db-max-ro-conns", "1")
    with Client(node.http) as c:
        c.get(1, query(ENDLESS))
        assert c.until(lambda kind, *_: kind == DATA)[1]
        c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
        assert node.one("SELECT 1") == 1
        c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))  # the first stream has used it up
        c.get(3)
        assert c.answer(3) is not None


def test_a_stream_that_is_not_read_is_reset(node):
    """Its connection goes on, though the client keeps reading other streams."""
    node.start("-db-max-ro-conns", "1", "-http-stall-timeout", "500ms")
    with Client(node.http) as c:
        c.get(1, query(ENDLESS))  # 64 KiB of it fit into the windows
        assert c.until(lambda kind, *_: kind == DATA)[1]
        assert node.one("SELECT 1") == 1


def test_an_error_after_the_first_bytes_resets_the_stream(node):
    node.start()
    with Client(node.http, struct.pack(">HI", 4, 1 << 30)) as c:
        c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        c.get(1, query(BIG % 100000 + " UNION ALL SELECT abs(-9223372036854775808), 'x'"))
        assert c.answer(1) is None
        c.get(3)
        assert c.answer(3) is not None


def test_streams_in_flight_finish_when_the_node_ends(node):
    node.start()
    with Client(node.http) as c:
        c.get(1, query(BIG % 100000))
        assert c.until(lambda kind, *_: kind == DATA)[1]
        node.process.send_signal(signal.SIGTERM)
        c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 30)), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        seen, last = c.until(lambda kind, flags, stream, payload: kind == DATA and flags & END_STREAM)
        assert last and any(f[0] == GOAWAY for f in seen)
        assert node.wait_end() == 0


def errors(c):
    """The error code of the GOAWAY that comes; None if the connection just ends."""
    _, f = c.until(lambda kind, *_: kind == GOAWAY)
    return f and struct.unpack(">I", f[3][4:8])[0]


PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9


@pytest.mark.parametrize("bad, codes", [
    (frame(DATA, END_STREAM, 1, b"x"), {PROTOCOL_ERROR, STREAM_CLOSED}),          # on an idle stream
    (frame(HEADERS, END_STREAM | END_HEADERS, 2, frames.request()), {PROTOCOL_ERROR}),  # an even stream
    (frame(SETTINGS, 0, 0, b"12345"), {FRAME_SIZE_ERROR}),
    (frame(SETTINGS, 0, 1), {PROTOCOL_ERROR}),
    (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), {FLOW_CONTROL_ERROR}),
    (frame(PING, 0, 0, b"1234567"), {FRAME_SIZE_ERROR}),
    (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), {PROTOCOL_ERROR}),
    (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), {FLOW_CONTROL_ERROR}),
    (frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), {COMPRESSION_ERROR}),
    (frame(HEADERS, END_STREAM, 1, frames.request()) + frame(PING, 0, 0, b"12345678"), {PROTOCOL_ERROR}),
    (frame(DATA, 0, 0, b"x"), {PROTOCOL_ERROR}),
    (b"\xff\xff\xff" + frame(DATA, 0, 1)[3:], {FRAME_SIZE_ERROR}),
])
def test_what_breaks_the_protocol_ends_the_connection(running_node, bad, codes):
    with Client(running_node.http) as c:
        c.send(bad)
        assert errors(c) in codes
    assert running_node.get("/readyz").status == 200


def test_unknown_frames_and_pings_are_fine(running_node):
    with Client(running_node.http) as c:
        c.send(frame(0x77, 0xff, 0, b"whatever"), frame(PING, 0, 0, b"12345678"))
        assert c.until(lambda kind, flags, stream, payload: kind == PING and flags == 1 and payload == b"12345678")[1]
        trailers = frames.field("x-trailer", "ignored")
        c.send(frame(HEADERS, END_HEADERS, 1, frames.request("/db/query", "POST")), frame(DATA, 0, 1, b'["SELECT 1"]'),
               frame(HEADERS, END_STREAM | END_HEADERS, 1, trailers))
        assert c.answer(1).decode() == ONE


@pytest.fixture(scope="module")
def running_node(tmp_path_factory):
    from conftest import Node
    node = Node(str(tmp_path_factory.mktemp("http2")))
    node.start()
    yield node
    node.clean_up()
