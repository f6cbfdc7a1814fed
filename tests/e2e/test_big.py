"""A database of some size through load, backup, boot, join and restart, in bounded memory.

RQ_BIG_MB gives another size; `make soak` takes 2000.
"""
import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

import toolbox
from conftest import PATIENCE, ROOT, SANITIZED, free_ports, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
from bigdb import make_database  # noqa: E402

MEGABYTES = int(os.environ.get("RQ_BIG_MB") or (12 if SANITIZED else 24))
LONG = max(600, PATIENCE * MEGABYTES // 50)  # seconds a step may take
PIECE = 1 << 20
MB = 1 << 20


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """The file, and how many rows its table Copies has."""
    path = str(tmp_path_factory.mktemp("big") / "big.sqlite")
    rows = make_database(path, MEGABYTES)
    yield path, rows
    os.unlink(path)


def send(node, path, file):
    with open(file, "rb") as body:
        c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=LONG, blocksize=PIECE)
        c.request("POST", path, body, {"Content-Length": str(os.path.getsize(file))})
        r = c.getresponse()
        out = r.status, r.read().decode()
        c.close()
        return out


def load(node, file):
    for _ in range(5):
        answer = send(node, "/db/load", file)
        if "leadership lost" not in answer[1]:  # as it may be, on a machine that is this busy
            break
    assert answer == (200, '{"results":[]}')


def fetch(node, params, path):
    """A backup into a file, piece by piece."""
    c = node.connect(LONG)
    c.request("GET", "/db/backup" + params)
    r = c.getresponse()
    assert r.status == 200, r.read(500)
    with open(path, "wb") as f:
        while piece := r.read(PIECE):
            f.write(piece)
    c.close()


def check_sqlite(path, rows, header):
    with open(path, "rb") as f:
        assert f.read(20)[18:] == header
    db = sqlite3.connect("file:%s?immutable=1" % path, uri=True)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("SELECT count(*), max(Id) FROM Copies").fetchone() == (rows, rows - 1)
    db.close()
    os.unlink(path)


def count(node):
    result = node.post("/db/query?level=none", ["SELECT count(*) FROM Copies"]).results[0]
    return result.get("values", [[None]])[0][0]


def dump_hash(node, directory):
    """Of what this very node holds."""
    path = os.path.join(directory, "dump")
    fetch(node, "?fmt=sql&noleader", path)
    with open(path, "rb") as f:
        h = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(f.read()).hexdigest()
    os.unlink(path)
    return h


def wait_equal(nodes, rows, directory=None):
    """All rows on every node and equal effects; with a directory, equal dumps, too."""
    for n in nodes:
        wait_until(lambda n=n: count(n) == rows, "all rows on node " + n.id, LONG, pause=0.05)
    hashes = {n.id: dump_hash(n, directory) for n in nodes if directory}
    assert len(set(hashes.values())) <= 1, hashes
    effects = lambda: {n.get("/status").json["store"]["effect_hash"] for n in nodes}
    wait_until(lambda: len(effects()) == 1, "equal effects")


def scratch(node):
    return os.listdir(node.in_data("scratch"))


def reset_peak(node):
    with open("/proc/%d/clear_refs" % node.process.pid, "w", encoding="ascii") as f:
        f.write("5")


def peak(node):
    with open("/proc/%d/status" % node.process.pid, encoding="ascii") as f:
        return next(int(x.split()[1]) * 1024 for x in f if x.startswith("VmHWM:"))


# --- load, backup, join, restart ---------------------------------------------------------------


@pytest.mark.parametrize("way, mode", [("leader", ["-on-disk"]), ("follower", ["-on-disk"]), ("follower", [])])
def test_a_cluster_takes_it_gives_it_back_and_passes_it_on(cluster, big, directory, way, mode):
    path, rows = big
    cluster.start(3, *mode)
    via = cluster.leader() if way == "leader" else cluster.follower()
    for n in cluster.nodes:
        reset_peak(n)
    load(via, path)
    wait_equal(cluster.nodes, rows)
    if mode and not SANITIZED:
        assert all(peak(n) < 96 * MB for n in cluster.nodes), [peak(n) // MB for n in cluster.nodes]
    out = os.path.join(directory, "backup")
    kinds = [("", b"\2\2"), ("?fmt=delete", b"\1\1"), ("?vacuum", b"\1\1")]
    for params, header in kinds if mode else kinds[:1]:
        fetch(via, params, out)
        check_sqlite(out, rows, header)
    fetch(via, "?compress", out + ".gz")
    with gzip.open(out + ".gz") as src, open(out, "wb") as dst:
        while piece := src.read(PIECE):
            dst.write(piece)
    check_sqlite(out, rows, b"\2\2")
    assert all(scratch(n) == [] for n in cluster.nodes)

    cluster.add(*mode)
    wait_equal(cluster.nodes, rows)
    follower = cluster.follower()
    follower.kill().start()
    cluster.leader().execute("DELETE FROM Copies WHERE Id = %d" % (rows - 1))
    wait_equal(cluster.nodes, rows - 1, directory)


def test_boot_and_restart(running, big, directory):
    path, rows = big
    assert send(running, "/boot", path) == (200, "")
    out = os.path.join(directory, "backup")
    for again in (lambda: None, running.restart, lambda: running.kill().start()):
        again()
        assert count(running) == rows
        fetch(running, "", out)
        check_sqlite(out, rows, b"\2\2")
    running.execute("DELETE FROM Copies WHERE Id < 1000")
    running.kill().start()
    assert count(running) == rows - 1000
    assert scratch(running) == []


def test_a_file_that_is_none_changes_nothing(cluster, big, directory):
    path, _ = big
    cluster.start(3)
    cluster[1].execute("CREATE TABLE kept(a)", "INSERT INTO kept VALUES(1)")
    before = cluster.leader().get("/status").json["store"]["raft"]["last_log_index"]
    size = os.path.getsize(path)
    bad = os.path.join(directory, "bad")

    def copy(to, damage):
        with open(path, "rb") as src, open(bad, "wb") as dst:
            left = to
            while left > 0:
                dst.write(src.read(min(left, PIECE)))
                left -= PIECE
        with open(bad, "r+b") as f:
            for offset, data in damage:
                f.seek(offset)
                f.write(data)

    pages = [(n * 4096, b"\xa5" * 4096) for n in range(20, 400, 3)]
    for to, damage in [(size - 4096, []), (size // 2 + 100, []), (size, pages), (size, [(16, b"\0\0")]),
                       (100, []), (4096, []), (size, [(0, b"SQLite format 9\0")])]:
        copy(to, damage)
        for node in (cluster.leader(), cluster.follower()):
            assert send(node, "/db/load", bad) == (400, "invalid SQLite data\n"), (to, damage[:1])
    # nothing at all is a request without statements, and other bytes are taken for SQL
    assert cluster[1].post("/db/load", b"").results == []
    assert "error" in cluster[1].post("/db/load", b"\x7fELF no database").results[0]
    assert cluster.wait_same("SELECT * FROM kept") == [[1]]
    after = cluster.leader().get("/status").json["store"]["raft"]["last_log_index"]
    assert after <= before + 2
    assert all(scratch(n) == [] for n in cluster.nodes)


def test_sql_text_has_a_limit_that_is_told(running):
    """It has to be one entry; it is looked at in its scratch file, so refusing it costs nothing."""
    line = b"-- " + b"x" * (PIECE - 4) + b"\n"

    class Text:
        left = 241

        def read(self, _):
            self.left -= 1
            return line if self.left >= 0 else b""

    answer = running.post("/db/load", Text(), headers={"Content-Length": str(241 * PIECE)}, timeout=LONG)
    assert (answer.status, answer.text) == (
        413, "SQL text of more than 240 MiB cannot be loaded at once; load a SQLite file\n")
    if not SANITIZED:
        assert peak(running) < 40 * MB
    running.execute("CREATE TABLE t(a)")
    assert scratch(running) == []


# --- a load that is cut ------------------------------------------------------------------------


class Sending(threading.Thread):
    """A load on its way."""

    def __init__(self, node, path):
        super().__init__(daemon=True)
        self.node, self.path, self.answer = node, path, None
        self.start()

    def run(self):
        try:
            self.answer = send(self.node, "/db/load", self.path)
        except (OSError, http.client.HTTPException) as e:
            self.answer = (None, str(e))


def half_loaded(node):
    """Some of the chunks have come through the log."""
    try:
        return os.path.getsize(node.in_data("scratch", "load.sqlite")) >= 2 * MB
    except OSError:
        return False


@pytest.mark.parametrize("how", ["killed", "stopped", "deposed"])
def test_a_load_cut_in_the_middle_leaves_the_old_data(cluster, big, how):
    path, rows = big
    cluster.start(3)
    leader = cluster.leader()
    leader.execute("CREATE TABLE kept(a)", "INSERT INTO kept VALUES(1)")
    others = [n for n in cluster.nodes if n is not leader]
    sending = Sending(leader, path)
    wait_until(lambda: sending.answer or half_loaded(others[0]), "half a load", LONG, pause=0.001)
    if how == "killed":
        leader.kill()
    elif how == "stopped":
        leader.stop()
    else:
        leader.post("/leader?wait")
    sending.join(LONG)
    status = sending.answer[0]
    if how == "deposed":
        wait_until(lambda: cluster.leader(), "a leader")
    else:
        leader.start()
    new = cluster.leader()
    new.post("/db/execute", ["INSERT INTO kept VALUES(2)"])
    whole = new.post("/db/query", ["SELECT count(*) FROM Copies"]).results[0]
    if "error" in whole:  # all or nothing; what was answered must hold
        assert status != 200
        assert cluster.wait_same("SELECT a FROM kept") == [[1], [2]]
    else:
        assert whole["values"] == [[rows]]
        assert cluster.wait_same("SELECT count(*) FROM Copies") == [[rows]]
    for n in cluster.nodes:
        wait_until(lambda n=n: scratch(n) == [], "no scratch on node %s: %s" % (n.id, scratch(n)))
    # and the next one works
    load(cluster.follower(), path)
    assert cluster.wait_same("SELECT count(*) FROM Copies") == [[rows]]


def test_two_loads_at_once_leave_one_of_them(cluster, big, directory):
    path, rows = big
    other = os.path.join(directory, "other.sqlite")
    other_rows = make_database(other, max(4, MEGABYTES // 2))
    cluster.start(3)
    both = [Sending(cluster.leader(), path), Sending(cluster.follower(), other)]
    for s in both:
        s.join(LONG)
    answers = [s.answer for s in both]
    assert any(a[0] == 200 for a in answers), answers
    assert all(a[0] == 200 or "interrupted" in a[1] for a in answers), answers
    got = cluster.wait_same("SELECT count(*) FROM Copies")[0][0]
    assert got in [r for r, a in zip((rows, other_rows), answers) if a[0] == 200]
    wait_equal(cluster.nodes, got)


def test_writes_joins_and_snapshots_go_on_while_it_loads(cluster, big, directory):
    path, rows = big
    cluster.start(3, "-raft-snap", "20", "-raft-snap-int", "200ms")
    leader = cluster.leader()
    leader.execute("CREATE TABLE kept(a)")
    sending = Sending(leader, path)
    answers = []
    started = False
    while sending.is_alive():
        answers.append(leader.post("/db/execute", ["INSERT INTO kept VALUES(1)"], timeout=LONG))
        if not started and half_loaded(leader):
            started = True
            cluster.add("-raft-snap", "20", "-raft-snap-int", "200ms", launch=True)
            leader.post("/snapshot", timeout=LONG)
            follower = next(n for n in cluster.nodes[:3] if n is not leader)
            follower.kill().launch()
    assert sending.answer == (200, '{"results":[]}')
    assert all(a.status == 200 for a in answers)
    for n in cluster.nodes:
        n.wait_ready(LONG)
    wait_equal(cluster.nodes, rows, directory)
    wait_until(lambda: leader.post("/snapshot", timeout=LONG).status in (200, 204), "a snapshot")
    assert count(leader) == rows


# --- a backup that is cut ----------------------------------------------------------------------


def begin_backup(node, params=""):
    """A client that has read the beginning of a backup and reads no further."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.settimeout(LONG)
    s.connect(("127.0.0.1", node.http))
    s.sendall(("GET /db/backup%s HTTP/1.1\r\nHost: x\r\n\r\n" % params).encode())
    first = s.recv(1000)
    assert first.startswith(b"HTTP/1.1 200"), first
    return s, first


def rest(s):
    """Everything else; and whether the end was an end."""
    got = b""
    try:
        while piece := s.recv(PIECE):
            got += piece
            if got.endswith(b"0\r\n\r\n"):
                return len(got), True
        return len(got), False
    except ConnectionResetError:
        return len(got), False
    finally:
        s.close()


@pytest.mark.parametrize("params", ["", "?compress"])
def test_a_client_notices_that_a_backup_was_cut(running, big, params):
    path, rows = big
    load(running, path)
    s, head = begin_backup(running, params)
    running.kill()
    got, ended = rest(s)
    assert not ended
    if not params:
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        assert got < length
    running.start()
    assert count(running) == rows


def test_clients_that_leave_harm_nobody(cluster, big, directory):
    path, rows = big
    cluster.start(3)
    load(cluster.leader(), path)
    for _ in range(3):
        for node in (cluster.leader(), cluster.follower()):
            for params in ("", "?compress", "?fmt=sql"):
                s, _ = begin_backup(node, params)
                s.close()
            # one that is gone before there is an answer
            s = socket.create_connection(("127.0.0.1", node.http))
            s.sendall(b"GET /db/backup HTTP/1.1\r\nHost: x\r\n\r\n")
            s.close()
        for node in cluster.nodes:
            fds = "/proc/%d/fd" % node.process.pid
            wait_until(lambda: scratch(node) == [] and not any(
                "scratch" in os.readlink(os.path.join(fds, f)) for f in os.listdir(fds)
                if os.path.islink(os.path.join(fds, f))), "no scratch left open on node " + node.id, LONG, pause=0.05)
    out = os.path.join(directory, "backup")
    fetch(cluster.follower(), "", out)
    check_sqlite(out, rows, b"\2\2")


def test_a_leader_that_dies_leaves_no_forwarded_backup_hanging(cluster, big):
    path, _ = big
    cluster.start(3)
    load(cluster.leader(), path)
    leader, follower = cluster.leader(), cluster.follower()
    answers = []

    def ask():
        c = follower.connect(LONG)
        try:
            c.request("GET", "/db/backup?fmt=sql")
            r = c.getresponse()
            body = r.read()
            answers.append((r.status, r.status != 200 or body.endswith(b"COMMIT;\n")))
        except (OSError, http.client.HTTPException):
            answers.append((None, True))
        finally:
            c.close()

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for c in clients:
        c.start()
    wait_until(lambda: scratch(leader) or answers, "a backup under way", pause=0.001)
    leader.kill()
    for c in clients:
        c.join(LONG)
        assert not c.is_alive()
    # cut or refused, or whole, from whoever leads now; never half with status 200
    assert len(answers) == 3 and all(whole for _, whole in answers), answers
    assert cluster.leader() is not leader
    leader.start()


def test_a_backup_costs_little_memory(cluster, big, directory):
    if SANITIZED:
        pytest.skip("a sanitizer's memory is no measure")
    path, rows = big
    cluster.start(3, "-on-disk")
    load(cluster.leader(), path)
    wait_equal(cluster.nodes, rows)
    out = os.path.join(directory, "backup")
    for node in (cluster.leader(), cluster.follower()):
        for params in ("", "?compress", "?vacuum", "?fmt=sql"):
            for n in cluster.nodes:
                reset_peak(n)
            before = {n.id: n.rss() for n in cluster.nodes}
            fetch(node, params, out)
            grown = {n.id: (peak(n) - before[n.id]) // MB for n in cluster.nodes}
            assert all(g <= 16 for g in grown.values()), (node.id, params, grown)


# --- other programs on the file ----------------------------------------------------------------


class Writing(threading.Thread):
    """Small writes, with a snapshot now and then."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.n, self.over = node, 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.node.execute("UPDATE Copies SET Note = 'written' WHERE Id % 5000 = 7", params="?timeout=60s")
            self.n += 1
            if self.n % 10 == 0:
                self.node.post("/snapshot")

    def stop(self):
        self.over.set()
        self.join()


def test_the_shell_reads_the_file_under_load(node, big):
    path, rows = big
    node.start("-on-disk")
    load(node, path)
    writing = Writing(node)
    try:
        end = time.monotonic() + (20 if os.environ.get("RQ_BIG_MB") else 4)
        reads = 0
        while time.monotonic() < end or reads < 5:
            shell = subprocess.run(["sqlite3", "-readonly", node.in_data("db.sqlite"),
                                    "SELECT count(*) FROM Copies; PRAGMA quick_check;"], capture_output=True, check=False)
            assert (shell.returncode, shell.stdout, shell.stderr) == (0, b"%d\nok\n" % rows, b"")
            reads += 1
    finally:
        writing.stop()
    assert writing.n > 10
    node.restart()
    assert count(node) == rows


@pytest.fixture(scope="module")
def datasette():
    """The program of the package index."""
    return os.path.join(os.path.dirname(toolbox.python_with("datasette", "datasette")), "datasette")


def test_datasette_serves_the_file_under_load(node, big, datasette):
    path, rows = big
    node.start("-on-disk")
    load(node, path)
    port = free_ports(1)[0]
    program = subprocess.Popen([datasette, "serve", "-h", "127.0.0.1", "-p", str(port), "--setting", "sql_time_limit_ms",
                                "60000", node.in_data("db.sqlite")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def ask(sql):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            c.request("GET", "/db.json?_shape=array&sql=" + sql.replace(" ", "%20"))
            r = c.getresponse()
            body = r.read()
            return (r.status, json.loads(body) if r.status == 200 else body)
        except OSError:
            return None
        finally:
            c.close()

    try:
        wait_until(lambda: ask("select 1"), "datasette", pause=0.1)
        writing = Writing(node)
        try:
            end = time.monotonic() + 4
            while time.monotonic() < end or writing.n < 20:
                assert ask("select count(*) as n from Copies") == (200, [{"n": rows}])
        finally:
            writing.stop()
        node.execute("INSERT INTO Copies(Id, Note) VALUES(%d, 'seen at once')" % (rows + 5))
        assert ask("select Note from Copies where Id = %d" % (rows + 5)) == (200, [{"Note": "seen at once"}])
    finally:
        program.send_signal(signal.SIGTERM)
        program.communicate(timeout=PATIENCE)
