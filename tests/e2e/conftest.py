"""What the system tests share: nodes as processes on free loopback ports, always cleaned up.

RQLITED and RQLITE name other binaries than the build's; VARIANT names another build.  Tests wait for
conditions, with a limit, and never for a while.
"""
import base64
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SHARED = os.path.join(ROOT, "..", "shared")
VARIANT = os.environ.get("VARIANT") or "release"
SANITIZED = VARIANT in ("asan", "tsan")
BIN = os.path.join(ROOT, "build", *([] if VARIANT == "release" else [VARIANT]), "bin")
RQLITED = os.environ.get("RQLITED") or os.path.join(BIN, "rqlited")
RQLITE = os.environ.get("RQLITE") or os.path.join(BIN, "rqlite")
PATIENCE = 120 if SANITIZED else 60  # seconds any condition may take on a busy machine

LIBC = ctypes.CDLL(None)
SANITIZER_SPOKE = re.compile(r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: )")


def wait_until(test, what, timeout=PATIENCE, pause=0.005):
    """The first true value of test()."""
    end = time.monotonic() + timeout
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %d s for %s" % (timeout, what))
        time.sleep(pause)


def free_ports(n):
    """n ports nobody listens on, below the range the kernel gives to clients."""
    held = []
    try:
        for candidate in _candidates():
            s = socket.socket()
            try:
                s.bind(("127.0.0.1", candidate))
            except OSError:
                s.close()
                continue
            held.append(s)
            if len(held) == n:
                return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def _claim_range():
    """The first of a hundred ports that are ours until this process ends, as far as such tests are concerned."""
    for i in range(120):
        n = (os.getpid() + i) % 120
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind("\0rqlite-e2e-ports-%d" % n)  # seen wherever the ports are
        except OSError:
            claim.close()
            continue
        _claim_range.held = claim
        return 10000 + n * 100
    raise AssertionError("too many tests run at once")


def _candidates():
    # Each process has a range of its own: a node that is down must find its ports free when it is started again.
    start = _candidates.start = getattr(_candidates, "start", None) or _claim_range()
    _candidates.next = getattr(_candidates, "next", start)
    for _ in range(400):
        _candidates.next += 1
        if _candidates.next >= start + 100:
            _candidates.next = start
        yield _candidates.next


def die_with_us():
    """In a child before exec: no node survives a test run that was killed, nor ignores what that ignores (nohup)."""
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def basic(login):
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(login.encode("utf-8")).decode("ascii")


class Answer:
    """An HTTP response, read whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def results(self):
        assert self.status == 200, (self.status, self.body[:500])
        return self.json["results"]

    def __repr__(self):
        return "<%d %r>" % (self.status, self.body[:300])


class Node:
    """One rqlited process and its data directory."""

    def __init__(self, directory, node_id="1"):
        self.data = os.path.join(directory, "data")
        self.log_path = os.path.join(directory, "log")
        self.id = node_id
        self.http, self.raft = free_ports(2)
        self.flags = []
        self.context = None  # of TLS, if that is what the HTTP port speaks
        self.login = None  # "user:password" of every request that has no Authorization of its own
        self.process = None
        self.starts = 0
        open(self.log_path, "wb").close()

    # --- the process --------------------------------------------------------------------------

    def command(self, *flags):
        return [RQLITED, "-node-id", self.id, "-http-addr", "127.0.0.1:%d" % self.http,
                "-raft-addr", "127.0.0.1:%d" % self.raft, *flags, self.data]

    def launch(self, *flags, command=None, env=None):
        """Start without waiting.  Flags are kept for later starts."""
        assert self.process is None or self.process.poll() is not None
        if flags:
            self.flags = list(flags)
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(command or self.command(*self.flags), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=log, env=env, preexec_fn=die_with_us)
        self.starts += 1
        return self

    def start(self, *flags, **more):
        self.launch(*flags, **more)
        return self.wait_ready()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, timeout=PATIENCE):
        def ready():
            assert self.alive(), "the node has ended: " + self.log()[-3000:]
            try:
                return self.get("/readyz").status == 200
            except OSError:
                return False

        wait_until(ready, "a ready node; its log: " + self.log()[-3000:], timeout)
        return self

    def wait_log(self, text, timeout=PATIENCE):
        """Wait for a line of the current run that holds text; that line."""
        def look():
            return next((line for line in self.log().splitlines() if text in line), None)
        return wait_until(look, "the log line %r in: %s" % (text, self.log()[-3000:]), timeout)

    def log(self):
        """What the current run has written."""
        with open(self.log_path, "rb") as f:
            f.seek(getattr(self, "log_start", 0))
            return f.read().decode("utf-8", "replace")

    def wait_end(self, timeout=PATIENCE):
        status = self.process.wait(timeout)
        self.process = None
        return status

    def stop(self, sig=signal.SIGTERM, status=0):
        """End in order; the exit status is checked."""
        self.process.send_signal(sig)
        got = self.wait_end()
        assert got == status, "exit status %d: %s" % (got, self.log()[-3000:])
        return self

    def kill(self):
        self.process.kill()
        self.wait_end()
        return self

    def restart(self, *flags):
        self.stop()
        return self.start(*flags)

    def wake(self):
        """End a suspension.  Where there is none, SIGCONT would disturb a search for leaks at the end: it stops
        threads, too, and waits for ever for one that was told to go on."""
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii", errors="replace") as f:
            if f.read().rpartition(")")[2].split()[0] == "T":
                self.process.send_signal(signal.SIGCONT)

    def clean_up(self):
        if self.alive():
            self.wake()
            self.process.terminate()
            try:
                status = self.wait_end(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.wait_end()
                raise AssertionError("the node did not end: " + self.log()[-3000:])
            # One that is still joining, as on a busy machine after a restart, says so.
            joining = status == 1 and re.search("clustering failure: .*canceled", self.log())
            assert status == 0 or joining, "exit status %d: %s" % (status, self.log()[-3000:])
        with open(self.log_path, "rb") as f:
            everything = f.read().decode("utf-8", "replace")
        found = SANITIZER_SPOKE.search(everything)
        assert not found, everything[max(0, found.start() - 200):found.start() + 6000]

    # --- requests -----------------------------------------------------------------------------

    def connect(self, timeout=PATIENCE):
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.http, timeout=timeout, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.http, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE, connection=None):
        """One request, on a connection of its own unless one is given."""
        headers = dict(headers or {})
        if self.login is not None:
            headers.setdefault("Authorization", basic(self.login))
        if body is not None and not isinstance(body, (bytes, str)) and not hasattr(body, "read"):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode("utf-8")
        c = connection or self.connect(timeout)
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            return Answer(r.status, r.headers, r.read())
        finally:
            if connection is None:
                c.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.ask("POST", path, body, **more)

    def execute(self, *statements, params="", **more):
        """The results of /db/execute; no error is tolerated unless errors=True."""
        errors = more.pop("errors", False)
        results = self.post("/db/execute" + params, list(statements), **more).results
        assert errors or not any("error" in r for r in results), results
        return results

    def query(self, sql, *args, params="", **more):
        """The rows of one query by POST."""
        statement = [sql, *args] if args else sql
        result = self.post("/db/query" + params, [statement], **more).results[0]
        assert "error" not in result, result
        return result.get("values", [])

    def query_get(self, sql, params=""):
        result = self.get("/db/query?q=" + urllib.parse.quote(sql) + params).results[0]
        assert "error" not in result, result
        return result.get("values", [])

    def one(self, sql, *args, **more):
        """The single value of a query."""
        rows = self.query(sql, *args, **more)
        assert len(rows) == 1 and len(rows[0]) == 1, rows
        return rows[0][0]

    def raw(self, data, timeout=PATIENCE, half_close=False):
        """Send bytes as they are; everything that comes back until the node closes or times out."""
        with socket.create_connection(("127.0.0.1", self.http), timeout) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def rss(self):
        """Resident memory in bytes."""
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) * 1024

    def in_data(self, *names):
        return os.path.join(self.data, *names)


def read_all(s):
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece
    except (ConnectionResetError, socket.timeout):
        return got


@pytest.fixture
def directory():
    """An empty directory outside of the tree, removed afterwards."""
    path = tempfile.mkdtemp(prefix="rqlite-e2e-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_node(directory):
    """A function that makes nodes, which are not started yet."""
    nodes = []

    def make(node_id="1"):
        where = os.path.join(directory, "node%d" % (len(nodes) + 1))
        os.mkdir(where)
        nodes.append(Node(where, node_id))
        return nodes[-1]

    yield make
    failures = []
    for node in nodes:
        try:
            node.clean_up()
        except AssertionError as e:
            failures.append(str(e))
    assert not failures, "\n".join(failures)


class Cluster:
    """Nodes that belong together.  The first is started alone; the others join it."""

    def __init__(self, make_node):
        self.make_node = make_node
        self.nodes = []

    def __getitem__(self, i):
        """By number, from 1."""
        return self.nodes[i - 1]

    def add(self, *flags, via=None, launch=False):
        """One more node, which joins through others (the first)."""
        node = self.make_node(str(len(self.nodes) + 1))
        if self.nodes:
            flags = ("-join", ",".join("127.0.0.1:%d" % n.raft for n in via or self.nodes[:1]), *flags)
        self.nodes.append(node)
        return node.launch(*flags) if launch else node.start(*flags)

    def start(self, n=3, *flags):
        while len(self.nodes) < n:
            self.add(*flags)
        self.wait_voters(n)
        return self

    def alive(self):
        return [n for n in self.nodes if n.alive()]

    def members(self, node=None):
        """What a node knows: ID -> its entry of /nodes."""
        return (node or self.alive()[0]).get("/nodes?nonvoters").json

    def wait_members(self, node, test, what):
        wait_until(lambda: test(self.members(node)), "%s; there is %s" % (what, self.members(node)))

    def wait_voters(self, n, node=None):
        self.wait_members(node, lambda m: sum(x["voter"] and x["reachable"] for x in m.values()) == n,
                          "%d voters" % n)

    def leader_id(self, node):
        return node.get("/status").json["store"]["leader"]["node_id"]

    def leader(self):
        """The node that leads, when all that run agree on it."""
        def agreed():
            try:
                found = {self.leader_id(n) for n in self.alive()}
            except OSError:
                return None
            if len(found) != 1 or "" in found:
                return None
            return next((n for n in self.alive() if n.id in found), None)
        return wait_until(agreed, "a leader")

    def follower(self):
        leader = self.leader()
        return next(n for n in self.alive() if n is not leader)

    def wait_same(self, sql, *nodes):
        """The rows of a query once all nodes, each for itself, give the same; those of the leader."""
        want = self.leader().query(sql)
        for node in nodes or self.alive():
            wait_until(lambda n=node: n.post("/db/query?level=none", [sql]).results[0].get("values", []) == want,
                       "equal rows on node " + node.id)
        return want


@pytest.fixture
def cluster(make_node):
    """A cluster without nodes yet."""
    return Cluster(make_node)


@pytest.fixture
def node(make_node):
    """A node that is not started yet."""
    return make_node()


@pytest.fixture(params=["memory", "disk"])
def mode(request):
    """The flags of each of the two places where a database can live."""
    return [] if request.param == "memory" else ["-on-disk"]


@pytest.fixture
def running(node, mode):
    """A ready node, in each mode."""
    return node.start(*mode)


def run(*args, timeout=PATIENCE, **more):
    """rqlited with these arguments, to its end: status, stdout, stderr."""
    p = subprocess.run([RQLITED, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                       check=False, **more)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def shared_data(name):
    path = os.path.join(SHARED, "data", name)
    if not os.path.exists(path):
        pytest.skip("no %s beside the repository" % name)
    return path
