# The rqlite shell, driven as users drive it: piped and on a terminal, against a fake server
# (errors, fail-over, redirects, wire format) and against rqlited.
import base64
import contextlib
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import PATIENCE, RQLITE, shared_data

pytestmark = pytest.mark.skipif(not os.path.exists(RQLITE), reason="rqlite is not built")


# --- running the shell ----------------------------------------------------------------------------


def environment(tmp_home=None, **extra):
    env = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
    for name in ("RQLITE_HOST", "RQLITE_HISTFILESIZE", "NO_COLOR"):
        env.pop(name, None)
    env.pop("HOME", None)
    if tmp_home:
        env["HOME"] = str(tmp_home)
    env.update(extra)
    return env


def shell(*args, stdin="", env=None, cwd=None):
    """Runs the shell on a script; gives what subprocess.run() gives."""
    return subprocess.run(
        [RQLITE, *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env or environment(),
        cwd=cwd,
    )


def commands(server, *lines, args=(), cwd=None):
    """Output of commands without welcome and prompts."""
    done = shell("-q", *server.address, *args, stdin="\n".join(lines) + "\n", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Terminal:
    """The shell on a pseudo terminal."""

    def __init__(self, program, env):
        self.seen = ""
        try:
            self.pid, self.fd = pty.fork()
        except OSError as e:
            pytest.skip("no terminals here: %s" % e)
        if self.pid == 0:
            # A runner in the background may have been started with these ignored, which programs inherit.
            for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(program[0], program, env)

    def read(self):
        try:
            self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
            return True
        except OSError:  # the other end is closed
            return False

    def expect(self, pattern):
        """Waits for a pattern, and forgets all up to its end."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end() :]
                return found
            ready, _, _ = select.select([self.fd], [], [], 0.1)
            assert not ready or self.read(), f"ended before {pattern!r}: {self.seen!r}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"

    def send(self, text):
        os.write(self.fd, text.encode())

    def command(self, text):
        """Types once the prompt is there: before, the terminal itself would act upon keys."""
        self.expect(r"\d> ")
        self.send(text)

    def end(self):
        """The exit status, once the shell has ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ready, _, _ = select.select([self.fd], [], [], 0.1)
            if ready and not self.read():
                break
            assert time.monotonic() < deadline, f"does not end: {self.seen!r}"
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


# --- a fake server --------------------------------------------------------------------------------


class Request:
    def __init__(self, handler, body):
        self.method = handler.command
        self.path = handler.path
        self.headers = handler.headers
        self.body = body


class Fake:
    """Answers by a table {(method, path): answer}; an answer is (status, body[, headers]) or a
    function of the request.  What is not in the table is 404.  Keeps the requests."""

    def __init__(self, answers, version="v10.2.7", tls=None):
        fake = self
        self.requests = []
        self.answers = {("GET", "/status"): (200, "{}")}
        self.answers.update(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = self.read_chunks()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self, body)
                fake.requests.append(request)
                answer = fake.answers.get((request.method, request.path), (404, ""))
                if callable(answer):
                    answer = answer(request)
                if answer is None:  # not a word
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, text, headers = (*answer, {})[:3]
                data = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                if version:
                    self.send_header("X-Rqlite-Version", version)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)
                    if "Content-Length" in headers:  # a wrong one, so nothing may follow
                        self.close_connection = True

            def read_chunks(self):
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            do_GET = do_POST = do_DELETE = do

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.name = f"127.0.0.1:{self.port}"
        self.address = ("-p", self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def last(self):
        return self.requests[-1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def fake():
    """A factory of fake servers, closed at the end."""
    made = []

    def make(answers=None, **kwargs):
        made.append(Fake(answers or {}, **kwargs))
        return made[-1]

    yield make
    for server in made:
        server.close()


def results(*entries):
    return 200, json.dumps({"results": list(entries)})


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


USERS = {"columns": ["id", "name"], "types": ["integer", "text"], "values": [[1, "fiona"], [2, "a"]]}
USERS_TABLE = """\
+----+-------+
| id | name  |
+----+-------+
| 1  | fiona |
+----+-------+
| 2  | a     |
+----+-------+
"""


# --- command line ---------------------------------------------------------------------------------


def test_help_begins_as_in_the_reference():
    done = shell("-h")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "Options:\n\n  -h, --help\n      display help information\n\n  -a, --alternatives\n"
    )
    assert "\n  -s, --scheme[=http]\n      protocol scheme (http or https)\n" in done.stdout


def test_version_is_one_line_on_stdout():
    done = shell("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"Version \S+, commit \S+, built on .+\n", done.stdout)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--bogus"], "undefined option --bogus"),
        (["-p", "abc"], "`abc' couldn't converted to an uint"),
        (["-ip"], "each fold option should be boolean, but -p not"),
    ],
)
def test_usage_errors_exit_1(args, message):
    done = shell(*args)
    assert (done.returncode, done.stderr) == (1, f"ERR! {message}\n")


def test_man_page_lists_every_option_and_command():
    page = shell("--man").stdout
    for word in (r"\-\-http\-timeout", r"\-\-quiet", ".sysdump", "RQLITE_HISTFILESIZE"):
        assert word in page


def test_a_missing_certificate_file_exits_1():
    done = shell("-s", "https", "-c", "/nope")
    assert done.returncode == 1
    assert done.stdout == "ERR! open /nope: no such file or directory\n"


# --- connecting -----------------------------------------------------------------------------------


def test_welcome_prompts_and_farewell(fake):
    server = fake({("POST", "/db/request"): results(USERS)})
    done = shell(*server.address, stdin="SELECT * FROM foo\n")
    assert done.returncode == 0
    assert done.stdout == (
        "Welcome to the rqlite CLI.\n"
        'Enter ".help" for usage hints.\n'
        f"Connected to http://{server.name} running version v10.2.7\n"
        f"{server.name}> {USERS_TABLE}{server.name}> bye~\n"
    )


def test_quiet_prints_results_only(fake):
    server = fake({("POST", "/db/request"): results(USERS)})
    assert commands(server, "SELECT * FROM foo") == USERS_TABLE


@pytest.mark.parametrize("word", ["quit", "EXIT", ".quit", ".Exit now"])
def test_a_farewell_ends_the_session(fake, word):
    server = fake()
    done = shell(*server.address, stdin=f"{word}\nSELECT 1\n")
    assert done.stdout.endswith(f"{server.name}> bye~\n")
    assert len(server.requests) == 1


def test_no_connection_exits_1():
    port = free_port()
    done = shell("-p", port)
    assert done.returncode == 1
    assert done.stdout == "ERR! no host available to perform the request\n"
    first, second = done.stderr.splitlines()
    stamp = r"\[client\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(
        stamp
        + f"host '127.0.0.1:{port}' is unavailable, retrying with the next available host: "
        + "connection refused",
        first,
    )
    assert re.fullmatch(stamp + "none of the available hosts are responsive", second)


def test_version_of_an_unknown_server(fake):
    server = fake({("GET", "/status"): (401, "")}, version=None)
    assert "running version unknown\n" in shell(*server.address).stdout


def test_fail_over_keeps_the_answer_and_moves_the_prompt(fake):
    first = fake({("POST", "/db/request"): lambda request: None})
    second = fake({("POST", "/db/request"): results(USERS)})
    done = shell(*first.address, "-a", f" {second.name} ,", stdin="SELECT * FROM foo\n.show\n")
    assert done.returncode == 0
    assert f"{first.name}> {USERS_TABLE}{second.name}>   blobarray: off\n" in done.stdout
    assert f"host '{first.name}' is unavailable" in done.stderr


def test_an_alternative_serves_when_the_first_host_is_dead(fake):
    server = fake()
    done = shell("-p", free_port(), "-a", server.name)
    assert done.returncode == 0
    assert f"Connected to http://{server.name} running" in done.stdout


def test_redirects_keep_method_body_and_credentials(fake):
    leader = fake({("POST", "/db/request?redirect"): results(USERS)})
    location = {"Location": f"http://{leader.name}/db/request?redirect"}
    follower = fake({("POST", "/db/request"): (301, "", location)})
    done = shell("-q", *follower.address, "-u", "bob:a:b", stdin="SELECT * FROM foo\n")
    assert done.stdout == USERS_TABLE
    request = leader.last()
    assert (request.method, json.loads(request.body)) == ("POST", ["SELECT * FROM foo"])
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"bob:a:b").decode()


def test_a_redirect_loop_is_an_error(fake):
    server = fake()
    server.answers[("POST", "/db/request")] = (301, "", {"Location": "/db/request"})
    assert commands(server, "SELECT 1") == "ERR! too many redirects\n"
    assert sum(r.path == "/db/request" for r in server.requests) == 22


def test_environment_names_the_host(fake):
    server = fake()
    for value in (f"//{server.name}", f"http://{server.name}", server.name):
        done = shell(env=environment(RQLITE_HOST=value))
        assert f"Connected to http://{server.name} " in done.stdout, value


def test_prefix_is_used_for_everything(fake):
    server = fake(
        {
            ("GET", "/a/b/status"): (200, '{"x":1}'),
            ("GET", "/a/b/nodes"): (200, '{"1":{"id":"1"}}'),
            ("POST", "/a/b/db/request"): results({"rows_affected": 1}),
        }
    )
    out = commands(server, ".nodes", ".status", "INSERT", args=["-P", "/a/b"])
    assert out == "1:\n  id: 1\nx: 1\n1 row affected\n"


def test_user_agent(fake):
    server = fake()
    shell(*server.address)
    assert re.fullmatch(r"rqlite/v\S+", server.last().headers["User-Agent"])


def test_a_slow_answer_times_out(fake):
    server = fake({("POST", "/db/request"): lambda request: time.sleep(3) or results({})})
    done = shell("-q", *server.address, "-t", "200ms", stdin="SELECT 1\n")
    assert done.stdout == "ERR! no host available to perform the request\n"
    assert "request timed out" in done.stderr


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    where = tmp_path_factory.mktemp("tls")
    cert, key = where / "cert.pem", where / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-out", cert, "-keyout", key],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_certificates_are_verified_unless_told_otherwise(fake, tls, certificate):
    server = fake(tls=tls)
    done = shell(*server.address, "-s", "https")
    assert done.returncode == 1
    assert "certificate" in done.stderr
    for args in (["-i"], ["-c", certificate[0]]):
        done = shell(*server.address, "-s", "https", *args)
        assert done.returncode == 0, done.stderr
        assert f"Connected to https://{server.name} running" in done.stdout


def test_mutual_tls(fake, tls, certificate):
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate[0])
    server = fake(tls=tls)
    assert shell(*server.address, "-s", "https", "-i").returncode == 1
    done = shell(*server.address, "-s=https", "-i", "-d", certificate[0], "-k", certificate[1])
    assert done.returncode == 0, done.stderr


# --- SQL lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry, shown",
    [
        ({"rows_affected": 1, "last_insert_id": 5}, "1 row affected\n"),
        ({"rows_affected": 2}, "2 rows affected\n"),
        ({}, "0 row affected\n"),
        ({"error": "no such table: nope"}, "Error: no such table: nope\n"),
        ({"columns": ["a"], "types": [""]}, "+---+\n| a |\n+---+\n"),
    ],
)
def test_entries(fake, entry, shown):
    assert commands(fake({("POST", "/db/request"): results(entry)}), "X") == shown


@pytest.mark.parametrize(
    "answer, shown",
    [
        (
            (503, "leader not found\n"),
            "ERR! server responded with 503 Service Unavailable: leader not found\n",
        ),
        ((401, ""), "ERR! unauthorized\n"),
        ((200, '{"results":[],"error":"stale read"}'), "ERR! stale read\n"),
        ((200, '{"results":[]}'), ""),
    ],
)
def test_refusals(fake, answer, shown):
    assert commands(fake({("POST", "/db/request"): answer}), "X") == shown


def test_an_error_does_not_stop_a_script(fake):
    server = fake({("POST", "/db/request"): results({"error": "e"})})
    assert commands(server, "A", "", "  B  ") == "Error: e\n" * 2
    assert json.loads(server.last().body) == ["B"]


def test_timer_and_changes(fake):
    write = {"rows_affected": 1, "last_insert_id": 5, "time": 0.000024}
    server = fake({("POST", "/db/request?timings"): results(write)})
    out = commands(server, ".timer on", ".changes on", "INSERT")
    assert out == "1 row affected (0.000024 sec)\nlast insert ID: 5\n"
    server.answers[("POST", "/db/request?timings")] = results({**USERS, "time": 0.000026})
    assert commands(server, ".timer on", "S") == USERS_TABLE + "Run Time: 0.000026 seconds\n"


def test_settings_reach_sql_lines(fake):
    server = fake()
    commands(server, ".consistency strong", ".blobarray on", ".timer on", "S")
    assert server.last().path == "/db/request?timings&level=strong&blob_array"
    commands(server, ".forcewrites on", "S")
    assert server.last().path == "/db/execute"


def test_unknown_commands_are_sent_as_sql(fake):
    server = fake({("POST", "/db/request"): results({"error": 'near ".": syntax error'})})
    assert commands(server, ".bogus") == 'Error: near ".": syntax error\n'
    assert json.loads(server.last().body) == [".bogus"]


def test_any_text_is_sent_unchanged(fake):
    server = fake()
    line = 'SELECT "\\ é 🐘 <&> \x01 " ; -- x'
    commands(server, line)
    assert json.loads(server.last().body) == [line]


def test_numbers_are_shown_as_the_server_wrote_them(fake):
    text = (
        '{"results":[{"columns":["a"],"types":["real"],"values":[[9007199254740993],[1.5],[1e+100],'
        "[100000000000000000000],[-0],[9223372036854775807],[1e-7],[true],[null],[[0,255]]]}]}"
    )
    server = fake({("POST", "/db/request"): (200, text)})
    assert commands(server, ".mode csv", "S").split("\n") == [
        "a",
        "9007199254740993",
        "1.5",
        "1e+100",
        "100000000000000000000",
        "-0",
        "9223372036854775807",
        "1e-7",
        "true",
        "NULL",
        "[0 255]",
        "",
    ]


# --- commands -------------------------------------------------------------------------------------


def test_toggles(fake):
    server = fake()
    for name in ("blobarray", "changes", "forcewrites", "timer"):
        out = commands(server, f".{name}", f".{name}  on", f".{name.upper()}", f".{name} xyz")
        assert out == "off\non\nERR! invalid option 'xyz'. Use 'on' or 'off' (default)\n"


def test_consistency_and_mode(fake):
    server = fake()
    out = commands(server, ".consistency", ".consistency foo", ".consistency auto", ".consistency")
    assert out == (
        "weak\nERR! invalid consistency 'foo'. Use 'none', 'weak', 'linearizable', or 'strong'\n"
        "auto\n"
    )
    out = commands(server, ".mode", ".mode bad", ".mode line", ".mode")
    assert out == "column\nERR! invalid mode 'bad'. Use 'column', 'csv', 'json', or 'line'\nline\n"


def test_show(fake, tmp_path):
    out = commands(fake(), f".output {tmp_path}/o", ".show")
    assert out == (
        "  blobarray: off\n  changes: off\n  consistency: weak\n  forcewrites: off\n"
        f"  mode: column\n  output: {tmp_path}/o\n  timer: off\n"
    )


def test_help_lists_the_commands_in_columns(fake):
    lines = commands(fake(), ".help").splitlines()
    assert lines[0] == ".backup FILE                                  Write database backup to FILE"
    assert (
        lines[4] == ".consistency [none|weak|linearizable|strong]  Show or set read consistency level"
    )
    assert lines == sorted(lines)
    assert len(lines) == 30


def test_table_commands_use_query(fake):
    server = fake()
    for line, sql in (
        (".tables", 'SELECT name FROM sqlite_master WHERE type="table" ORDER BY name ASC'),
        (".indexes", 'SELECT sql FROM sqlite_master WHERE type="index"'),
        (".schema", "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid ASC"),
    ):
        commands(server, line)
        path, query = server.last().path.split("?")
        assert path == "/db/query"
        assert urllib.request.unquote(query) == f"level=weak&q={sql}"


def test_table_commands_word_a_401_as_a_status(fake):
    out = commands(fake({}), ".tables")
    assert out == "ERR! server responded with 404 Not Found: \n"


def test_output_takes_results_and_nothing_else(fake, tmp_path):
    server = fake({("POST", "/db/request"): results(USERS)})
    path = tmp_path / "out"
    path.write_text("old " * 100)
    out = commands(server, f".output {path}", "S", ".timer", ".output", "S")
    assert out == "off\n" + USERS_TABLE
    assert path.read_text() == USERS_TABLE
    assert commands(server, ".output /nope/x") == "ERR! open /nope/x: no such file or directory\n"


NODES = {
    "2": {"id": "2", "leader": False, "api_addr": "http://127.0.0.1:1", "voter": True},
    "1": {
        "id": "1",
        "api_addr": "http://127.0.0.1:4001",
        "leader": True,
        "time": 0.000017596,
        "error": None,
        "list": [1, "a", {"b": 2, "a": None}],
        "deep": {"b": {"c": "d"}, "a": True},
    },
}


def test_a_full_disk_is_reported(fake):
    server = fake({("POST", "/db/request"): results(USERS)})
    out = commands(server, ".output /dev/full", "S", ".output", ".timer", "S")
    assert out == "ERR! write /dev/full: no space left on device\noff\n" + USERS_TABLE


def test_trees(fake):
    server = fake({("GET", "/nodes"): (200, json.dumps(NODES))})
    one = (
        "{0}api_addr: http://127.0.0.1:4001\n{0}deep:\n{0}  a: true\n{0}  b:\n{0}    c: d\n"
        "{0}id: 1\n{0}leader: true\n{0}list: [1 a map[a:<nil> b:2]]\n{0}time: 0.000017596\n"
    )
    two = "2:\n  api_addr: http://127.0.0.1:1\n  id: 2\n  leader: false\n  voter: true\n"
    assert commands(server, ".nodes") == "1:\n" + one.format("  ") + two
    assert commands(server, ".leader") == one.format("")
    commands(server, ".nodes all")
    assert server.last().path == "/nodes?nonvoters"


def test_no_leader(fake):
    assert commands(fake({("GET", "/nodes"): (200, "{}")}), ".leader") == "ERR! no leader found\n"


def test_status_and_expvar(fake):
    server = fake(
        {
            ("GET", "/status"): (200, '{"b":{"x":1},"a":"t"}'),
            ("GET", "/status?key=b.x"): (200, "1"),
            ("GET", "/status?key=b.y"): (200, "{}"),
            ("GET", "/debug/vars"): (200, '{"cmdline":["a","b"],"http":{"n":1}}'),
        }
    )
    assert commands(server, ".status") == "a: t\nb:\n  x: 1\n"
    assert commands(server, ".status b") == "b:\n  x: 1\n"
    assert commands(server, ".status nope") == ""
    assert commands(server, ".status b.x") == "b.x: 1\n"
    assert commands(server, ".status b.y") == ""
    assert commands(server, ".expvar") == "cmdline: [a b]\nhttp:\n  n: 1\n"
    assert commands(server, ".expvar http") == "http:\n  n: 1\n"


def test_orders(fake):
    server = fake(
        {
            ("GET", "/readyz"): (503, "no"),
            ("GET", "/status?key=extensions"): (200, '{"dir":"d","names":["a.so","b.so"]}'),
            ("POST", "/reap"): (200, '{"snapshots_reaped":1,"wals_checkpointed":2}\n'),
            ("POST", "/snapshot?trailing_logs=0"): (204, ""),
            ("POST", "/snapshot?trailing_logs=5"): (500, "load in progress\n"),
            ("DELETE", "/remove"): (200, ""),
            ("POST", "/leader?wait=true"): (500, "stepdown: cannot find peer\n"),
        }
    )
    assert commands(server, ".ready") == "not ready\n"
    server.answers[("GET", "/readyz")] = (200, "[+]node ok")
    assert commands(server, ".ready") == "ready\n"
    assert commands(server, ".extensions") == "a.so\nb.so\n"
    assert commands(server, ".reap") == "snapshots reaped: 1, WALs checkpointed: 2\n"
    assert commands(server, ".snapshot") == ""
    assert commands(server, ".snapshot 5") == (
        "ERR! server responded with 500 Internal Server Error: load in progress\n"
    )
    assert commands(server, ".snapshot abc") == "ERR! invalid trailing logs value: abc\n"
    assert commands(server, ".remove") == "ERR! please specify a node ID\n"
    assert commands(server, '.remove a"b') == ""
    assert json.loads(server.last().body) == {"id": 'a"b'}
    assert commands(server, ".stepdown") == (
        "ERR! server responded with 500 Internal Server Error: stepdown: cannot find peer\n"
    )
    assert server.last().body == b""
    server.answers[("POST", "/leader?wait=true")] = (200, "")
    assert commands(server, ".stepdown 2") == ""
    assert json.loads(server.last().body) == {"id": "2"}
    assert server.last().headers["Content-Type"] == "application/json"


def test_backup_replaces_a_file_only_when_all_is_there(fake, tmp_path):
    path = tmp_path / "b.db"
    path.write_text("old and longer than the new one")
    server = fake({("GET", "/db/backup"): (503, "leader not found\n")})
    out = commands(server, f".backup {path}")
    assert out == "ERR! server responded with: 503 Service Unavailable\n"
    server.answers[("GET", "/db/backup")] = (200, b"part", {"Content-Length": "100"})
    assert commands(server, f".backup {path}") == "ERR! no host available to perform the request\n"
    assert path.read_text() == "old and longer than the new one"
    server.answers[("GET", "/db/backup")] = (200, b"new\0one")
    assert commands(server, f".backup {path}") == "backup file written successfully\n"
    assert path.read_bytes() == b"new\0one"
    assert [p.name for p in tmp_path.iterdir()] == ["b.db"]
    assert commands(server, ".backup") == "ERR! please specify an output file for the backup\n"
    assert "no such file or directory" in commands(server, f".backup {tmp_path}/no/b")


def test_dump(fake, tmp_path):
    server = fake(
        {
            ("GET", "/db/backup?fmt=sql"): (200, "all"),
            ("GET", "/db/backup?fmt=sql&tables=a,b%20c,d"): (200, "some"),
        }
    )
    path = tmp_path / "d.sql"
    assert commands(server, f".dump {path}") == "SQL text file written successfully\n"
    assert path.read_text() == "all"
    commands(server, f".dump {path} a, b c ,,d")
    assert path.read_text() == "some"
    assert commands(server, ".dump") == "ERR! please specify an output file for the SQL text\n"


def test_restore_of_sql_text_appends_the_servers_setting(fake, tmp_path):
    path = tmp_path / "d.sql"
    path.write_text("INSERT 1; -- end")
    server = fake(
        {
            ("GET", "/status"): (200, '{"store":{"db_conf":{"fk_constraints":true}}}'),
            ("POST", "/db/load"): results({"last_insert_id": 2, "rows_affected": 1}),
        }
    )
    out = commands(server, f".restore {path}")
    assert out == "last inserted ID: 2\nrows affected: 1\nDatabase restored successfully.\n"
    assert server.last().body == b"INSERT 1; -- end\nPRAGMA foreign_keys=ON;"
    assert server.last().headers["Content-Type"] == "text/plain"
    server.answers[("GET", "/status")] = (200, "{}")
    server.answers[("POST", "/db/load")] = results({"error": "table foo already exists"})
    assert commands(server, f".restore {path}") == "Error: table foo already exists\n"
    assert server.last().body.endswith(b"PRAGMA foreign_keys=OFF;")


def test_restore_of_a_file_follows_redirects_with_all_of_it(fake, tmp_path):
    data = b"SQLite format 3\0" + os.urandom(3_000_000)
    (tmp_path / "big.db").write_bytes(data)
    leader = fake({("POST", "/db/load"): (200, '{"results":[]}')})
    location = {"Location": f"http://{leader.name}/db/load"}
    follower = fake({("POST", "/db/load"): (301, "", location)})
    out = commands(follower, ".restore big.db", cwd=tmp_path)
    assert out == "Database restored successfully.\n"
    assert leader.last().body == data
    assert leader.last().headers["Content-Type"] == "application/octet-stream"


def test_restore_errors(fake, tmp_path):
    server = fake()
    assert commands(server, ".restore") == "ERR! please specify an input file to restore from\n"
    assert commands(server, ".restore nofile") == "ERR! open nofile: no such file or directory\n"
    assert commands(server, f".restore {tmp_path}") == f"ERR! read {tmp_path}: is a directory\n"


def test_boot(fake, tmp_path):
    (tmp_path / "d.sql").write_text("SELECT 1;")
    (tmp_path / "d.db").write_bytes(b"SQLite format 3\0" + b"x" * 100)
    server = fake({("POST", "/boot"): (503, "not single-node\n")})
    out = commands(server, ".boot d.sql", ".boot d.db", ".boot", cwd=tmp_path)
    assert out == (
        "ERR! d.sql is not a valid SQLite file\n"
        "ERR! boot failed, status code: 503 Service Unavailable, not single-node\n\n"
        "ERR! please specify an input file to boot with\n"
    )
    server.answers[("POST", "/boot")] = (200, "")
    assert commands(server, ".boot d.db", cwd=tmp_path) == "Node booted successfully.\n"
    assert server.last().body == (tmp_path / "d.db").read_bytes()


def test_read_sends_statements_whole(fake, tmp_path):
    (tmp_path / "s.sql").write_text(
        "-- a comment\n"
        "INSERT INTO t VALUES(1)\n"
        "INSERT INTO t VALUES(2)\n"
        "\n"
        "CREATE TABLE t (\n  a, -- first\n  b\n);\n"
        "INSERT INTO t VALUES('a;\n\n-- b');\n"
        "DELETE FROM t\nWHERE a = 1;\n"
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  DELETE FROM u;\n  DELETE FROM v;\nEND;\n"
        "SELECT 1; SELECT 2;\n"
        "SELECT 3"
    )
    server = fake({("POST", "/db/request"): results({"error": "e"})})
    assert commands(server, ".read s.sql", cwd=tmp_path) == "Error: e\n" * 8
    assert [json.loads(r.body)[0] for r in server.requests[1:]] == [
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t VALUES(2)",
        "CREATE TABLE t (\n  a, -- first\n  b\n);",
        "INSERT INTO t VALUES('a;\n\n-- b');",
        "DELETE FROM t\nWHERE a = 1;",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  DELETE FROM u;\n  DELETE FROM v;\nEND;",
        "SELECT 1; SELECT 2;",
        "SELECT 3",
    ]
    assert commands(server, ".read") == "ERR! please specify an input file to read from\n"


def test_sysdump(fake, tmp_path):
    server = fake()
    nodes = {
        "1": {"api_addr": f"http://{server.name}", "voter": True},
        "2": {"api_addr": "http://127.0.0.1:1", "voter": True},
        "3": {"voter": True},
    }
    server.answers.update(
        {
            ("GET", "/nodes"): (200, json.dumps(nodes)),
            ("GET", "/status?pretty"): (200, "S"),
            ("GET", "/readyz"): (503, "R"),
        }
    )
    path = tmp_path / "dump"
    assert commands(server, f".sysdump {path}") == ""
    line = "\n" + "=" * 41 + "\n"
    text = path.read_text()
    assert text.startswith(
        f"{line}URL: http://{server.name}/status?pretty\nStatus: 200 OK\n\nS"
        f"{line}URL: http://{server.name}/nodes?pretty\nStatus: 404 Not Found\n\n"
        f"{line}URL: http://{server.name}/readyz\nStatus: 503 Service Unavailable\n\n"
    )
    assert f"{line}URL: http://127.0.0.1:1/readyz\nStatus: connection refused\n\n" in text
    assert text.count("URL: ") == 8


# --- on a terminal --------------------------------------------------------------------------------


@pytest.fixture
def terminal(fake, tmp_path):
    """A factory of shells on a terminal, with a home of their own."""
    open_ones = []

    def make(server, *args, program=None, **extra):
        env = environment(tmp_path, TERM="xterm", LC_ALL="C.UTF-8", **extra)
        open_ones.append(Terminal(program or [RQLITE, *map(str, server.address), *args], env))
        return open_ones[-1]

    yield make
    for t in open_ones:
        with contextlib.suppress(OSError, ChildProcessError):
            os.kill(t.pid, signal.SIGKILL)
            os.waitpid(t.pid, 0)


def echo(request):
    return results({"error": json.loads(request.body)[0]})


def test_keys_edit_the_line(fake, terminal):
    t = terminal(fake({("POST", "/db/request"): echo}))
    t.command("ELECT 2\x01S\x05;\r")  # Ctrl-A, Ctrl-E
    t.expect(r"Error: SELECT 2;\r\n")
    t.command("one two\x17three\r")  # Ctrl-W
    t.expect(r"Error: one three\r\n")
    t.command("gone\x15kept\r")  # Ctrl-U
    t.expect(r"Error: kept\r\n")
    t.command("abXcd\x1b[D\x1b[D\x7f\x1b[F!\x1b[H?\r")  # arrows, backspace, End, Home
    t.expect(r"Error: \?abcd!\r\n")
    t.command("é🐘x\x1b[D\x7f\r")
    t.expect(r"Error: éx\r\n")
    t.command("\x1b[A\x1b[A\r")  # up, up
    t.expect(r"Error: \?abcd!\r\n")
    t.command("a")
    t.expect("a")
    t.send("\x1a")  # Ctrl-Z: without a shell to come back from, only drawn again
    t.expect(r"\d> a")
    t.send("b\r")
    t.expect(r"Error: ab\r\n")
    t.command("\x12e thr\r")  # Ctrl-R
    t.expect(r"Error: one three\r\n")
    t.command("\x04")  # Ctrl-D
    t.expect("bye~")
    assert t.end() == 0


def test_tab_completes_commands(fake, terminal):
    t = terminal(fake())
    t.command(".bl\t\r")
    t.expect(r"\noff\r\n")
    t.command(".quit\r")
    assert t.end() == 0


def test_ctrl_c_drops_the_line(fake, terminal):
    server = fake({("POST", "/db/request"): echo})
    t = terminal(server)
    t.command("SELECT wrong")
    t.expect("wrong")
    t.send("\x03")
    t.expect(r"\^C")
    t.command("right\r")
    t.expect(r"Error: right\r\n")
    t.command("exit\r")
    t.expect("bye~")
    assert t.end() == 0


def test_ctrl_c_cancels_a_request(fake, terminal):
    release = threading.Event()
    server = fake({("POST", "/db/request"): lambda r: release.wait(PATIENCE) and results({})})
    t = terminal(server)
    t.command("SELECT slow\r")
    deadline = time.monotonic() + PATIENCE
    while len(server.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    t.send("\x03")
    t.expect("ERR!.*request canceled")
    release.set()
    t.command("exit\r")
    assert t.end() == 0


def test_ctrl_c_ends_a_script(fake, tmp_path):
    started, release = threading.Event(), threading.Event()

    def slow(request):
        started.set()
        release.wait(PATIENCE)
        return 200, "late"

    server = fake({("GET", "/db/backup"): slow})
    process = subprocess.Popen(
        [RQLITE, "-q", *map(str, server.address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    process.stdin.write(f".backup {tmp_path}/b\n.status\n")
    process.stdin.flush()
    assert started.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    release.set()
    assert (process.returncode, out) == (130, "ERR! request canceled\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_z_and_back(fake, terminal):
    server = fake({("POST", "/db/request"): echo})
    t = terminal(server, program=["bash", "--norc", "-i"], PS1="bash: ")
    t.expect("bash: ")
    t.send(f"{RQLITE} -p {server.port}\r")
    t.command("SELECT")
    t.expect("SELECT")
    t.send("\x1a")
    t.expect("Stopped")
    t.expect("bash: ")
    t.send("fg\r")
    t.command(" more\r")
    t.expect(r"Error: SELECT more\r\n")
    t.command("exit\r")
    t.expect("bye~")
    t.expect("bash: ")
    t.send("exit\r")
    t.end()


def test_errors_are_red_unless_told_otherwise(fake, terminal):
    server = fake()
    t = terminal(server)
    t.command(".mode bad\r")
    t.expect(r"\x1b\[31mERR!\x1b\[0m invalid mode")
    t.command("exit\r")
    assert t.end() == 0
    t = terminal(server, NO_COLOR="1")
    t.command(".mode bad\r")
    t.expect(r"\nERR! invalid mode")
    t.command("exit\r")
    assert t.end() == 0


def test_history_is_kept(fake, terminal, tmp_path):
    server = fake({("POST", "/db/request"): echo})
    path = tmp_path / ".rqlite_history"
    t = terminal(server)
    for line in ("one", "two", "two", "", "three"):
        t.command(line + "\r")
    t.command("\x04")
    assert t.end() == 0
    assert path.read_text() == "one\ntwo\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o600

    t = terminal(server, RQLITE_HISTFILESIZE="2")
    t.command("\x1b[A\r")
    t.expect("Error: three")
    t.command("quit\r")
    assert t.end() == 0
    assert path.read_text() == "three\nquit\n"

    t = terminal(server, RQLITE_HISTFILESIZE="0")
    t.command("quit\r")
    assert t.end() == 0
    assert not path.exists()


def test_scripts_leave_the_history_alone(fake, tmp_path):
    server = fake()
    shell(*server.address, stdin="SELECT 1\n", env=environment(tmp_path))
    assert not (tmp_path / ".rqlite_history").exists()


def test_a_password_is_asked_for_without_echo(fake, terminal, tmp_path):
    server = fake()
    t = terminal(server, "-u", "bob")
    t.expect("Password: ")
    t.send("secret\r")
    seen = t.seen
    t.command("quit\r")
    assert "secret" not in seen + t.seen
    assert t.end() == 0
    authorization = "Basic " + base64.b64encode(b"bob:secret").decode()
    assert server.last().headers["Authorization"] == authorization
    assert "secret" not in (tmp_path / ".rqlite_history").read_text()


def test_without_a_terminal_the_password_is_empty(fake):
    server = fake()
    shell(*server.address, "-u", "bob")
    assert server.last().headers["Authorization"] == "Basic " + base64.b64encode(b"bob:").decode()


def test_wide_text_lines_up(fake):
    rows = {"columns": ["a"], "types": ["text"], "values": [["日本"], ["é"], ["e\u0301x"]]}
    server = fake({("POST", "/db/request"): results(rows)})
    assert commands(server, "S") == (
        "+------+\n| a    |\n+------+\n| 日本 |\n+------+\n| é    |\n+------+\n"
        "| e\u0301x   |\n+------+\n"
    )


# --- with rqlited ---------------------------------------------------------------------------------


@pytest.fixture
def server(node):
    node.start()
    node.address = ("-p", node.http)
    return node


INVOICES = "SELECT count(*) AS n, round(sum(Total), 2) AS total FROM Invoice"
TRACKS = "SELECT count(*) AS n FROM Track"


def skip_if_not_served(out):
    if "501 Not Implemented" in out:
        pytest.skip("rqlited does not serve this yet")


def assert_chinook(server):
    out = commands(server, ".mode csv", INVOICES, TRACKS)
    assert out == "n,total\n412,2328.6\nn\n3503\n"


def test_the_worked_example_of_the_guides(server, tmp_path):
    done = shell(
        *server.address,
        stdin="CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT)\n"
        ".schema\n"
        'INSERT INTO foo(name) VALUES("fiona")\n'
        "SELECT * FROM foo\n"
        ".backup bak.sqlite3\n"
        "quit\n",
        cwd=tmp_path,
    )
    prompt = f"127.0.0.1:{server.http}> "
    assert done.stdout.split("\n", 3)[3] == (
        f"{prompt}0 row affected\n{prompt}"
        "+---------------------------------------------------------------+\n"
        "| sql                                                           |\n"
        "+---------------------------------------------------------------+\n"
        "| CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT) |\n"
        "+---------------------------------------------------------------+\n"
        f"{prompt}1 row affected\n{prompt}"
        "+----+-------+\n| id | name  |\n+----+-------+\n| 1  | fiona |\n+----+-------+\n"
        f"{prompt}backup file written successfully\n{prompt}bye~\n"
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "bak.sqlite3")) as db:
        assert db.execute("SELECT * FROM foo").fetchall() == [(1, "fiona")]


def test_restore_backup_and_dump_of_a_real_database(server, tmp_path):
    assert commands(server, f".restore {shared_data('chinook.sqlite')}") == "Database restored successfully.\n"
    assert_chinook(server)
    out = commands(server, ".backup b.db", ".dump d.sql", ".dump t.sql Track, Genre", cwd=tmp_path)
    assert out == (
        "backup file written successfully\n" + "SQL text file written successfully\n" * 2
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as db:
        assert db.execute(INVOICES).fetchall() == [(412, 2328.6)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript((tmp_path / "d.sql").read_text())
        assert db.execute(INVOICES).fetchall() == [(412, 2328.6)]
        assert db.execute(TRACKS).fetchall() == [(3503,)]
    text = (tmp_path / "t.sql").read_text()
    assert text.count('INSERT INTO "Track"') == 3503
    assert 'INSERT INTO "Invoice"' not in text


def test_restore_of_sql_text(server):
    out = commands(server, f".restore {shared_data('chinook.sql')}")
    assert out.endswith("Database restored successfully.\n"), out
    assert_chinook(server)


def test_boot_of_a_fresh_node(server):
    out = commands(server, f".boot {shared_data('chinook.sqlite')}")
    skip_if_not_served(out)
    assert out == "Node booted successfully.\n"
    assert_chinook(server)


def test_read_of_a_script(server, tmp_path):
    (tmp_path / "s.sql").write_text(
        "-- people\nCREATE TABLE t (\n  id INTEGER PRIMARY KEY,\n  name TEXT\n);\n"
        "CREATE TABLE log (name TEXT)\n"
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN\n  INSERT INTO log VALUES (new.name);\nEND;\n"
        "INSERT INTO t(name)\nVALUES ('a;\nb');\n"
        "DELETE FROM t\nWHERE id = 99;\n"
        "SELECT count(*) AS n FROM log\n"
    )
    out = commands(server, ".mode csv", ".read s.sql", "SELECT name FROM t", cwd=tmp_path)
    assert out.endswith('n\n1\nname\n"a;\nb"\n'), out
    assert "Error" not in out


def test_commands_that_look_at_a_node(server):
    out = commands(server, ".nodes", ".leader", ".ready", ".status store.node_id", ".tables")
    assert "  leader: true\n" in out and f"  api_addr: http://127.0.0.1:{server.http}\n" in out
    assert "\nready\n" in out
    assert out.endswith("+------+\n| name |\n+------+\n")
    assert "build:\n" in commands(server, ".status")
    assert "cmdline: [" in commands(server, ".expvar")
    assert commands(server, ".extensions") == ""
    out = commands(server, ".snapshot")
    skip_if_not_served(out)
    assert out == ""


def test_settings_with_a_real_node(server):
    out = commands(
        server,
        "CREATE TABLE b (x BLOB, r REAL)",
        "INSERT INTO b VALUES (x'00ff41', 1e100)",
        ".blobarray on",
        ".consistency strong",
        ".mode json",
        "SELECT * FROM b",
        ".forcewrites on",
        "INSERT INTO b VALUES (NULL, 2.0) RETURNING r",
    )
    assert out == (
        "0 row affected\n1 row affected\n"
        '[\n  {\n    "r": 1e+100,\n    "x": [\n      0,\n      255,\n      65\n    ]\n  }\n]\n'
        '[\n  {\n    "r": 2\n  }\n]\n'
    )
