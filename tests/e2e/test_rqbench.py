# rqbench, against a fake server and against rqlited.
import base64
import json
import os
import re
import subprocess
import threading

import pytest

from conftest import BIN, PATIENCE
from test_shell import certificate, fake, free_port, results, tls  # noqa: F401 (fixtures)

RQBENCH = os.environ.get("RQBENCH") or os.path.join(BIN, "rqbench")
DURATION = r"\d+(\.\d+)?(ns|µs|ms|s)"

pytestmark = pytest.mark.skipif(not os.path.exists(RQBENCH), reason="rqbench is not built")


def bench(*args, **env):
    return subprocess.run(
        [RQBENCH, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")} | env,
    )


def output(*args, **env):
    done = bench(*args, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


EXECUTE = ("POST", "/db/execute")
WRITTEN = results({"last_insert_id": 1, "rows_affected": 1})
WAYS = pytest.mark.parametrize("conns", [1, 3])  # libcurl, raw sockets


def test_usage():
    done = bench()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "\nrqbench is a simple load testing utility for rqlite.\n\n"
        "Usage: rqbench [arguments] <SQL statement>\n"
        '  -a string\n    \tNode address (default "localhost:4001")\n'
        "  -b int\n    \tStatements per request (default 1)\n"
    )
    assert "\n  -q\tUse queued writes\n" in done.stderr
    assert bench("-h").stdout == done.stderr
    assert bench("-bogus").returncode == 2
    done = bench("-t", "foo", "SQL")
    assert (done.returncode, done.stderr) == (1, "not a valid transport: foo\n")


def test_man_page():
    assert output("-man").startswith('.TH RQBENCH 1 "" ')


@WAYS
def test_output(fake, conns):
    server = fake({EXECUTE: WRITTEN})
    out = output("-a", server.name, "-n", 31, "-m", 10, "-b", 2, "-c", conns, 'say "hi"')
    assert re.fullmatch(
        f"Test target: http://{server.name}/db/execute\n"
        + "".join(f"{n} requests completed in {DURATION}\n" for n in (10, 20, 30))
        + f"Total duration: {DURATION}\nRequests/sec: \\d+\\.\\d\\d\nStatements/sec: \\d+\\.\\d\\d\n",
        out,
    )
    assert len(server.requests) == 31
    for request in server.requests:
        assert json.loads(request.body) == ['say "hi"'] * 2
        assert request.headers["Content-Type"] == "application/json"
        assert re.fullmatch(r"rqbench/v\S+", request.headers["User-Agent"])


@WAYS
def test_requests(fake, conns):
    server = fake(
        {
            EXECUTE: WRITTEN,
            ("POST", "/db/execute?transaction"): WRITTEN,
            ("POST", "/db/request?level=none&transaction"): WRITTEN,
        }
    )
    common = ["-a", server.name, "-n", 6, "-c", conns]
    assert "/db/execute?transaction\n" in output(*common, "-x", "SQL")
    assert server.requests[-1].path == "/db/execute?transaction"
    output(*common, "-x", "-p", "/db/request?level=none", "SQL", "-o", "FIRST", "-u", "bob:a:b")
    assert json.loads(server.requests[6].body) == ["FIRST"]
    assert server.requests[6].path == "/db/execute"
    for request in server.requests[6:]:
        credentials = base64.b64encode(b"bob:a:b").decode()
        assert request.headers["Authorization"] == "Basic " + credentials
    assert server.requests[-1].path == "/db/request?level=none&transaction"


@WAYS
def test_queued(fake, conns):
    server = fake(
        {
            ("POST", "/db/execute?queue"): (200, "not looked at"),
            ("POST", "/db/execute?queue&wait"): (200, "{}"),
        }
    )
    out = output("-a", server.name, "-n", 5, "-c", conns, "-q", "-x", "SQL")
    assert re.match(
        f"using queued write tester\nTest target: http://{server.name}/db/execute\\?queue\n"
        f"Queued tester wait request took {DURATION}\nTotal duration: ",
        out,
    )
    paths = [request.path for request in server.requests]
    assert paths == ["/db/execute?queue"] * 5 + ["/db/execute?queue&wait"]


@WAYS
@pytest.mark.parametrize(
    "answer, cause",
    [
        ((404, ""), "received 404 Not Found"),
        (results({}, {"error": "no such table: nope"}), "received error: no such table: nope"),
        (results(), "expected at least 1 result, got 0"),
    ],
)
def test_failures_end_the_run(fake, conns, answer, cause):
    server = fake({EXECUTE: answer})
    done = bench("-a", server.name, "-c", conns, "SQL")
    assert done.returncode == 1
    assert done.stdout.endswith(f"\nfailed to run test: {cause}\n")
    assert len(server.requests) <= conns
    done = bench("-a", server.name, "-o", "ONCE", "SQL")
    assert (done.returncode, done.stdout) == (1, f"failed to execute oneshot: {cause}\n")


@WAYS
def test_no_connection(conns):
    addr = f"127.0.0.1:{free_port()}"
    done = bench("-a", addr, "-c", conns, "SQL")
    assert done.returncode == 1
    assert done.stdout.endswith(
        f'failed to run test: Post "http://{addr}/db/execute": dial tcp {addr}: connect: '
        "connection refused\n"
    )


@WAYS
def test_a_run_for_some_time(fake, conns):
    out = output("-a", fake({EXECUTE: WRITTEN}).name, "-d", "300ms", "-c", conns, "-l", "SQL")
    assert int(re.search(r"\nRequests: (\d+)\n", out)[1]) > 0
    for name in ("min", "p50", "p90", "p95", "p99", "p99.9", "max"):
        assert re.search(f"\nLatency {name}: {DURATION}\n", out)


def test_connections_run_at_the_same_time(fake):
    together = threading.Barrier(8)
    server = fake({EXECUTE: lambda request: together.wait(PATIENCE) is not None and WRITTEN})
    output("-a", server.name, "-n", 16, "-c", 8, "SQL")
    assert len(server.requests) == 16


@WAYS
def test_connections_that_the_server_closes(fake, conns):
    server = fake({EXECUTE: (*WRITTEN, {"Connection": "close"})})
    output("-a", server.name, "-n", 20, "-c", conns, "SQL")
    assert len(server.requests) == 20


@WAYS
def test_https(fake, tls, certificate, conns):
    server = fake({EXECUTE: WRITTEN}, tls=tls)
    out = output("-s", "-a", server.name, "-n", 10, "-c", conns, "SQL", SSL_CERT_FILE=str(certificate[0]))
    assert out.startswith(f"Test target: https://{server.name}/db/execute\n")
    assert len(server.requests) == 10
    assert bench("-s", "-a", server.name, "-c", conns, "SQL").returncode == 1


@WAYS
def test_with_a_real_node(node, conns):
    node.start()
    out = output(
        *["-a", f"127.0.0.1:{node.http}", "-n", 50, "-c", conns],
        *["-o", "CREATE TABLE foo (id INTEGER PRIMARY KEY, name TEXT)"],
        "INSERT INTO foo(name) VALUES('fiona')",
    )
    assert "Requests/sec: " in out
    assert node.one("SELECT count(*) FROM foo") == 50
    output("-a", f"127.0.0.1:{node.http}", "-n", 50, "-c", conns, "-q", "INSERT INTO foo DEFAULT VALUES")
    # The marker that is waited for holds the statement once more.
    assert node.one("SELECT count(*) FROM foo") == 101
