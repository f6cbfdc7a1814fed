"""Snapshots: what they write, what a start makes of them, whatever happens to the database file, and how
they reach a member that is too far behind.

SEED=n repeats a run's moments; ROUNDS=n sets how often a node is killed (make soak does).
"""
import os
import random
import sqlite3
import threading
import time

import pytest

from conftest import PATIENCE, wait_until

ROUNDS = int(os.environ.get("ROUNDS") or 12)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
OFTEN = ["-raft-snap", "20", "-raft-snap-int", "60ms"]
NEVER = ["-raft-snap", "1000000", "-raft-snap-int", "1h"]


def figures(node, key="store"):
    return node.get("/debug/vars?key=" + key).json[key]


def fill(node, rows=300, table="t"):
    node.execute("CREATE TABLE IF NOT EXISTS %s(id INTEGER PRIMARY KEY, x)" % table)
    node.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d) "
                 "INSERT INTO %s(x) SELECT randomblob(700) FROM n" % (rows, table))


def dump(node):
    answer = node.get("/db/backup?fmt=sql&noleader")
    assert answer.status == 200, answer
    return answer.body


def check(node):
    assert node.query("PRAGMA integrity_check", params="?level=none") == [["ok"]]


class Writer(threading.Thread):
    """Writes numbered rows until the node is gone or it is told to stop; knows what was acknowledged."""

    def __init__(self, node, first):
        super().__init__(daemon=True)
        self.node, self.next = node, first
        self.acked, self.unknown = [], []
        self.enough = False

    def run(self):
        c = self.node.connect(PATIENCE)
        while not self.enough:
            n, self.next = self.next, self.next + 1
            sql = ["INSERT INTO log(n, x) VALUES(?, ?)", n, "x" * (n * 37 % 900)]
            if n % 10 == 0:  # pages that come and go
                sql = ["INSERT INTO log(n, x) VALUES(?, zeroblob(30000))", n]
            try:
                answer = self.node.post("/db/execute", [sql], connection=c)
            except Exception:
                self.unknown.append(n)
                return
            if answer.status != 200 or "error" in answer.text:
                self.unknown.append(n)
                return
            self.acked.append(n)


@pytest.mark.parametrize("flags", [OFTEN, ["-on-disk", *OFTEN]], ids=["memory", "disk"])
def test_killed_at_random_moments_it_goes_on_from_snapshot_and_log(node, flags):
    print("SEED=%d" % SEED)
    rand = random.Random(SEED)
    node.start(*flags)
    node.execute("CREATE TABLE log(n INTEGER PRIMARY KEY, x)")
    acked, maybe, first, reused = set(), set(), 1, 0
    for _ in range(ROUNDS):
        writer = Writer(node, first)
        writer.start()
        time.sleep(rand.choice([0.02, 0.1, 0.3, 0.6]) * rand.random())  # the random moment
        node.kill()
        writer.join()
        first = writer.next
        acked |= set(writer.acked)
        maybe |= set(writer.unknown)
        if rand.random() < 0.3:  # while it starts, too
            node.launch()
            time.sleep(0.1 * rand.random())
            node.kill()
        node.start()
        reused += figures(node)["num_restores_start_skipped"]
        check(node)
        rows = {r[0] for r in node.query("SELECT n FROM log")}
        assert acked <= rows, "lost: %s" % sorted(acked - rows)[:20]
        assert rows <= acked | maybe, "never asked for: %s" % sorted(rows - acked - maybe)[:20]
        acked, maybe = rows, set()
        if "-on-disk" in flags:
            with sqlite3.connect("file:%s?mode=ro" % node.in_data("db.sqlite"), uri=True) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert {r[0] for r in db.execute("SELECT n FROM log")} == acked
    assert node.post("/reap").status == 200
    before = dump(node)
    node.restart()
    assert dump(node) == before


def test_an_orderly_stop_leaves_a_file_that_is_used_as_it_is(node):
    node.start("-on-disk", *NEVER)
    fill(node)
    before = dump(node)
    node.stop()
    assert "snapshot-on-close took" in node.log()
    node.start()
    node.wait_log("detected successful prior snapshot operation, skipping restore")
    assert figures(node)["num_restores_start_skipped"] == 1
    assert figures(node)["num_restores_start"] == 0
    assert dump(node) == before
    node.stop()
    assert "snapshot-on-close" not in node.log()  # nothing new


def test_in_memory_the_database_is_made_from_the_snapshot(node):
    node.start(*NEVER)
    fill(node)
    before = dump(node)
    node.restart()
    node.wait_log("initiating node restore on node ID 1")
    node.wait_log("node restored in")
    assert figures(node)["num_restores_start"] == 1
    assert dump(node) == before


def harm_delete(path):
    os.unlink(path)


def harm_write(path):
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO t(x) VALUES('from elsewhere')")
    db.close()


def harm_vacuum(path):
    db = sqlite3.connect(path)
    db.execute("DELETE FROM t WHERE id % 2")
    db.commit()
    db.execute("VACUUM")
    db.close()


def harm_look(path):
    db = sqlite3.connect(path)
    db.execute("SELECT count(*) FROM t").fetchall()
    db.close()  # may copy the WAL back and remove it


def harm_wal(path):
    for end in "-wal", "-shm":
        if os.path.exists(path + end):
            os.unlink(path + end)


def harm_tail(path):
    with open(path, "r+b") as f:
        f.seek(-4096, os.SEEK_END)
        f.write(b"\xa5" * 4096)


def harm_replace(path):
    os.unlink(path)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other(x)")
    db.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("harm", [harm_delete, harm_write, harm_vacuum, harm_look, harm_wal, harm_tail, harm_replace],
                         ids=lambda f: f.__name__)
def test_what_others_do_to_the_file_while_the_node_is_down_does_no_harm(node, how, harm):
    node.start("-on-disk", *NEVER)
    fill(node)
    assert node.post("/snapshot").status == 200
    fill(node, 50)
    before = dump(node)
    getattr(node, how)()
    harm(node.in_data("db.sqlite"))
    node.start()
    assert dump(node) == before
    check(node)
    fill(node, 10)
    assert node.one("SELECT count(*) FROM t") == 360


def test_the_data_directory_alone_is_enough(node, directory):
    """-on-disk-path on a disk that does not outlive the machine."""
    volatile = os.path.join(directory, "shm", "db.sqlite")
    node.start("-on-disk", "-on-disk-path", volatile, *NEVER)
    fill(node)
    assert node.post("/snapshot").status == 200
    fill(node)
    before = dump(node)
    for how in ("stop", "kill"):
        getattr(node, how)()
        for name in os.listdir(os.path.dirname(volatile)):
            os.unlink(os.path.join(os.path.dirname(volatile), name))
        node.start()
        assert figures(node)["num_restores_start"] == 1
        assert dump(node) == before
        check(node)


def test_the_mode_may_change_at_every_start(node):
    rand = random.Random(SEED)
    print("SEED=%d" % SEED)
    before = None
    for _ in range(8):
        node.start(*rand.choice([["-on-disk"], []]), *OFTEN)
        if "-on-disk" not in node.flags:
            assert not os.path.exists(node.in_data("db.sqlite"))
        if before is not None:
            assert dump(node) == before
        fill(node, rand.randrange(1, 200))
        if rand.random() < 0.5:
            node.post("/snapshot")
        before = dump(node)
        if rand.random() < 0.5:
            node.kill()
        else:
            node.stop()


def test_snapshots_show_in_status_and_counters(running):
    fill(running)
    assert running.post("/snapshot").status == 200
    assert running.post("/snapshot").status == 204
    for n in range(2):
        running.execute("UPDATE t SET x = %d WHERE id = 7" % n)
        assert running.post("/snapshot").status == 200
    store = figures(running)
    assert store["num_snapshots"] == 3
    assert store["num_snapshots_full"] == 1
    assert store["num_snapshots_incremental"] == 2
    assert store["num_user_snapshots"] == 4
    assert figures(running, "snapshot")["persist_size"] < 50000
    shown = running.get("/status?key=store.snapshot_store").json
    assert shown["dir"].endswith("/snapshots")
    assert len(shown["snapshots"]) == 3
    assert shown["dir_size"] > 200000
    last = running.get("/status?key=store.raft").json["last_snapshot_index"]
    assert shown["snapshots"][-1].split("-")[1] == str(last)
    assert running.post("/reap").json == {"snapshots_reaped": 2, "wals_checkpointed": 2}
    assert running.post("/reap").json == {"snapshots_reaped": 0, "wals_checkpointed": 0}
    assert len(running.get("/status?key=store.snapshot_store").json["snapshots"]) == 1
    assert figures(running, "snapshot")["reap_snapshots"] == 2
    assert running.one("SELECT count(*) FROM t") == 300


def test_entries_that_change_nothing_do_not_stay_in_the_log_for_ever(node):
    node.start(*OFTEN)
    node.execute("CREATE TABLE t(x)")
    for entry in (lambda: node.query("SELECT 1", params="?level=strong"),
                  lambda: node.execute("UPDATE t SET x = 1 WHERE x = 5"),
                  lambda: node.post("/db/execute", ["INSERT INTO nowhere VALUES(1)"])):
        for _ in range(2):
            first = node.get("/status?key=store.raft").json["last_log_index"]
            for _ in range(25):
                entry()
            wait_until(lambda: node.get("/status?key=store.raft").json["last_snapshot_index"] > first,
                       "a snapshot after entries that change nothing")
    node.execute("INSERT INTO t VALUES(1)")
    node.kill()
    node.start()
    assert node.one("SELECT count(*) FROM t") == 1
    check(node)


def test_temporary_tables_in_use_do_not_keep_snapshots_away(node):
    node.start(*OFTEN)
    node.execute("CREATE TABLE t(x)")
    for i in range(2200):  # they end 1000 entries after the first, and there is one again at once
        node.execute("CREATE TEMP TABLE IF NOT EXISTS tt(x)", ["INSERT INTO t VALUES(?)", i])
    wait_until(lambda: node.get("/status?key=store.raft").json["last_snapshot_index"] > 1000,
               "a snapshot between temporary tables")
    node.kill()
    node.start()
    assert node.one("SELECT count(*) FROM t") == 2200
    check(node)


def test_a_booted_database_makes_the_next_snapshot_a_whole_one(running, directory):
    fill(running)
    assert running.post("/snapshot").status == 200
    path = os.path.join(directory, "boot.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE booted(x)")
        db.executemany("INSERT INTO booted VALUES(?)", [("y" * 500,)] * 1000)
    db.close()
    with open(path, "rb") as f:
        assert running.post("/boot", f.read()).status == 200
    assert figures(running)["num_snapshots_full"] == 2
    running.execute("INSERT INTO booted VALUES('after')")
    before = dump(running)
    running.kill().start()
    assert dump(running) == before


def test_a_large_wal_is_copied_back(node):
    node.start("-on-disk", "-raft-snap", "1000000", "-raft-snap-int", "60ms", "-raft-snap-wal-size", "500000")
    fill(node, 2000)
    wait_until(lambda: figures(node)["num_wal_snapshots"] >= 1, "a snapshot for the WAL's size")
    wait_until(lambda: os.path.getsize(node.in_data("db.sqlite")) > 1400000, "a main file with the rows")


@pytest.mark.parametrize("flags", [[], ["-on-disk"], ["-on-disk", "-compress-snap-transport"]],
                         ids=["memory", "disk", "compressed"])
def test_a_member_far_behind_is_sent_a_snapshot_while_writes_and_snapshots_go_on(cluster, flags):
    often = ["-raft-snap", "50", "-raft-snap-int", "60ms"]
    cluster.start(3, *flags, *often)
    leader = cluster.leader()
    fill(leader, 3000)
    leader.execute("CREATE TABLE log(n INTEGER PRIMARY KEY, x)")
    late = cluster.follower()
    late.kill()
    writer = Writer(leader, 1)
    writer.start()
    last = leader.get("/status?key=store.raft").json["last_log_index"]
    wait_until(lambda: leader.get("/status?key=store.raft").json["last_snapshot_index"] > last + 100, "a later log")
    late.launch()
    time.sleep(0.05)  # somewhere in the middle of things
    late.kill()
    late.start()
    wait_until(lambda: figures(late)["num_restores"] + figures(late)["num_restores_start"]
               + figures(late)["num_restores_start_skipped"] >= 1, "a snapshot received")
    fresh = cluster.add(*flags, *often)
    wait_until(lambda: figures(fresh)["num_restores"] == 1, "a snapshot received")
    writer.enough = True
    writer.join()
    cluster.wait_same("SELECT count(*), max(n) FROM log")
    rows = {r[0] for r in leader.query("SELECT n FROM log")}
    assert set(writer.acked) <= rows
    want = dump(leader)
    for node in cluster.alive():
        check(node)
        assert dump(node) == want, "node %s differs" % node.id


def test_a_snapshot_that_has_gone_bad_is_replaced_before_a_member_gets_it(cluster):
    leader = cluster.add(*NEVER)
    fill(leader)
    assert leader.post("/snapshot?trailing_logs=1").status == 200
    snapshots = leader.in_data("snapshots")
    name, = [n for n in os.listdir(snapshots) if n.endswith(".sqlite")]
    with open(os.path.join(snapshots, name), "r+b") as f:
        f.seek(-100, os.SEEK_END)
        byte = f.read(1)
        f.seek(-100, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))
    fresh = cluster.add(*NEVER)
    wait_until(lambda: figures(fresh)["num_restores"] == 1, "a snapshot received")
    assert cluster.wait_same("SELECT count(*) FROM t") == [[300]]
    leader.kill()
    leader.start()  # from the new one
    cluster.wait_same("SELECT count(*), sum(length(x)) FROM t")
