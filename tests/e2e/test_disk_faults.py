"""Disks that are full, read-only or dying: clear errors, nothing corrupt, service again when the cause is gone."""
import os
import sqlite3
import subprocess

import pytest

from conftest import SANITIZED, Cluster, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library that is loaded")
SNAPSHOTS = ["-raft-snap", "100", "-raft-snap-int", "100ms"]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("faulty") / "faulty_disk.so")
    source = os.path.join(os.path.dirname(__file__), "faulty_disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", path, source, "-ldl"], check=True)
    return path


class Disk:
    """The faults of one node's disk."""

    def __init__(self, library, path):
        self.library, self.path = library, path
        self.heal()

    def env(self):
        return dict(os.environ, LD_PRELOAD=self.library, FAULTY_DISK=self.path)

    def fail(self, operations, code, part):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write("%s %s %s\n" % (operations, code, part))
        os.rename(self.path + ".new", self.path)

    def heal(self):
        self.fail("nothing", "EIO", "/nowhere")


@pytest.fixture
def disk(library, directory):
    return Disk(library, os.path.join(directory, "fault"))


def insert_until_refused(node, limit=3000, size=2000):
    """How many rows were acknowledged before a write was not."""
    for n in range(limit):
        try:
            answer = node.post("/db/execute", [["INSERT INTO t VALUES (?, zeroblob(?))", n, size]])
        except OSError:
            return n, "gone"
        if answer.status != 200 or "error" in answer.json or "error" in answer.json["results"][0]:
            return n, answer.text
    raise AssertionError("every write was acknowledged")


def acknowledged(node):
    return node.one("SELECT count(*) FROM t")


def check(node, n):
    """Every acknowledged row is there; one more may be, whose outcome was unknown."""
    assert acknowledged(node) in (n, n + 1)
    assert node.query("PRAGMA integrity_check") == [["ok"]]
    node.execute("INSERT INTO t VALUES (999999, 1)")


# --- the log ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("operation,code,says", [("sync", "EIO", "Input/output error"),
                                                 ("write", "EIO", "Input/output error"),
                                                 ("write", "ENOSPC", "No space left on device"),
                                                 ("write", "EROFS", "Read-only file system")])
def test_a_log_that_cannot_be_written_ends_the_node_and_loses_nothing(node, disk, mode, operation, code, says):
    node.launch(*mode, env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    node.execute("INSERT INTO t VALUES (-1, 1)")
    disk.fail(operation, code, "/wal/")
    n, answer = insert_until_refused(node)
    assert answer == "gone" or says in answer or "store not open" in answer, answer
    assert node.wait_end() == 1
    line = next(line for line in node.log().splitlines() if "node stops serving" in line)
    assert "/wal" in line and says in line
    disk.heal()
    node.launch(env=disk.env()).wait_ready()
    check(node, n + 1)


def test_a_log_that_cannot_be_read_is_not_started_from(node, disk):
    node.launch(env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    node.stop()
    disk.fail("read", "EIO", "/wal/")
    node.launch(env=disk.env())
    assert node.wait_end() == 1
    assert "Input/output error" in node.log() and "/wal" in node.log()
    disk.heal()
    node.launch(env=disk.env()).wait_ready()
    check(node, 0)


@pytest.mark.parametrize("forwarded", [False, True], ids=["alone", "forwarded"])
def test_a_leader_whose_disk_is_nearly_full_refuses_writes_until_there_is_room(make_node, disk, forwarded):
    cluster = Cluster(make_node)
    leader = cluster.make_node("1")
    cluster.nodes.append(leader)
    leader.launch(env=disk.env()).wait_ready()
    asked = cluster.add() if forwarded else leader
    asked.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    asked.execute("INSERT INTO t VALUES (1, 1)")
    disk.fail("space", "ENOSPC", leader.data)

    def write():
        return asked.post("/db/execute", ["INSERT INTO t(b) VALUES (1)"]).json.get("error", "")
    wait_until(lambda: write().startswith("disk full: 0 B is left"), "a refusal")
    n = acknowledged(asked)
    assert write().startswith("disk full") and write().startswith("disk full")
    assert acknowledged(asked) == n and asked.get("/readyz").status == 200
    assert asked.query("SELECT count(*) FROM t", params="?level=linearizable") == [[n]]
    disk.heal()
    wait_until(lambda: write() == "", "writes to be taken again")
    assert acknowledged(asked) == n + 1
    leader.wait_log("writes are refused until there is more")
    leader.wait_log("writes are taken again")


# --- snapshots ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("operation,code", [("write", "ENOSPC"), ("sync", "EIO"), ("open-write", "EACCES")])
def test_a_snapshot_that_cannot_be_written_costs_only_itself(node, disk, mode, operation, code):
    node.launch(*mode, "-raft-snap", "0", env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    assert node.post("/snapshot").status == 200
    node.execute("INSERT INTO t VALUES (1, zeroblob(100000))")
    disk.fail(operation, code, "/snapshots/")
    answer = node.post("/snapshot")
    assert answer.status == 500 and answer.text, answer
    node.execute("INSERT INTO t VALUES (2, zeroblob(100000))")
    assert node.post("/snapshot").status == 500
    assert node.get("/readyz").status == 200
    disk.heal()
    node.execute("INSERT INTO t VALUES (3, zeroblob(100000))")
    assert node.post("/snapshot").status == 200
    node.kill()
    node.launch(env=disk.env()).wait_ready()
    assert node.query("SELECT n FROM t ORDER BY n") == [[1], [2], [3]]
    check(node, 3)


def test_a_snapshot_that_cannot_be_read_is_not_started_from(node, disk):
    node.launch("-raft-snap", "0", env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    assert node.post("/snapshot").status == 200
    node.stop()
    disk.fail("read,open-read", "EIO", "/snapshots/")
    node.launch(env=disk.env())
    assert node.wait_end() == 1
    assert "Input/output error" in node.log() and "/snapshots" in node.log()
    disk.heal()
    node.launch(env=disk.env()).wait_ready()
    check(node, 0)


# --- the database ------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_an_entry_that_cannot_be_applied_is_never_skipped(node, disk, code):
    node.launch("-on-disk", *SNAPSHOTS, env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    disk.fail("write", code, "/db.sqlite")
    n, _ = insert_until_refused(node, size=100000)
    assert node.wait_end() == 1
    assert "node stops serving" in node.log()
    disk.heal()
    node.launch(env=disk.env()).wait_ready()
    check(node, n)


def test_a_database_on_another_disk_that_is_full_is_told_apart(node, disk, directory):
    path = os.path.join(directory, "elsewhere", "live.db")
    node.launch("-on-disk", "-on-disk-path", path, env=disk.env()).wait_ready()
    node.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    disk.fail("write", "ENOSPC", "/elsewhere/")
    n, _ = insert_until_refused(node, size=100000)
    assert node.wait_end() == 1
    disk.heal()
    node.launch(env=disk.env()).wait_ready()
    check(node, n)
    node.stop()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- the directory -----------------------------------------------------------------------------------

@pytest.mark.parametrize("code,says", [("EROFS", "Read-only file system"), ("EACCES", "Permission denied")])
def test_a_data_directory_that_cannot_be_written_is_refused_with_its_name(node, disk, code, says):
    disk.fail("write,open-write", code, node.data)
    node.launch(env=disk.env())
    assert node.wait_end() == 1
    assert says in node.log() and node.data in node.log()


# --- a cluster ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_cluster_goes_on_without_the_node_whose_disk_died(make_node, library, directory, who):
    disks = {}
    cluster = Cluster(make_node)
    for i in range(3):
        node = cluster.make_node(str(i + 1))
        disks[node.id] = Disk(library, os.path.join(directory, "fault%d" % i))
        join = ["-join", "127.0.0.1:%d" % cluster[1].raft] if i else []
        cluster.nodes.append(node)
        node.launch(*join, *SNAPSHOTS, env=disks[node.id].env()).wait_ready()
    cluster.wait_voters(3)
    cluster[1].execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b)")
    victim = cluster.leader() if who == "leader" else cluster.follower()
    asked = next(n for n in cluster.nodes if n is not victim)
    disks[victim.id].fail("sync", "EIO", "/wal/")
    written = []

    def write_all():
        answer = asked.post("/db/execute", [["INSERT OR IGNORE INTO t VALUES (?, 1)", len(written)]])
        if answer.status == 200 and "error" not in answer.json:
            written.append(len(written))
        return len(written) >= 300
    wait_until(write_all, "300 writes", pause=0)
    assert victim.wait_end() == 1
    disks[victim.id].heal()
    victim.launch(env=disks[victim.id].env()).wait_ready()
    assert cluster.wait_same("SELECT n FROM t ORDER BY n") == [[n] for n in written]
