"""kill -9 at random moments under concurrent writes: what was acknowledged is there exactly once.

ROUNDS=n sets how often a node is killed in all (make soak does); SEED=n repeats a run's moments.
"""
import collections
import http.client
import os
import random
import sqlite3
import threading
import time

import pytest

from conftest import PATIENCE

ROUNDS = int(os.environ.get("ROUNDS") or 40)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))


class Writer(threading.Thread):
    """Writes numbered rows, one request after the other, until the node is gone.  Remembers which
    requests were acknowledged; the last one may be either way."""

    def __init__(self, node, name, first, kind):
        super().__init__(daemon=True)
        self.node, self.client, self.kind = node, name, kind
        self.next = first       # number of the next row
        self.acked = []         # ranges of rows
        self.unknown = []       # the same, for requests without an answer
        self.wrong = None

    def request(self, rows):
        """Path and body that write these rows."""
        insert = [["INSERT INTO log(client, n, filler) VALUES(?, ?, ?)", self.client, n, "x" * (n * 37 % 900)] for n in rows]
        if self.kind == "transaction":
            return "/db/execute?transaction", insert
        if self.kind == "queued":
            return "/db/execute?queue&wait", insert
        if self.kind == "returning":
            return "/db/request", [[insert[0][0] + " RETURNING n", *insert[0][1:]]]
        return "/db/execute", insert

    def run(self):
        size = {"transaction": 5, "queued": 3}.get(self.kind, 1)
        c = self.node.connect(PATIENCE)
        while True:
            rows = range(self.next, self.next + size)
            self.next += size
            path, body = self.request(rows)
            try:
                answer = self.node.post(path, body, connection=c)
            except (OSError, http.client.HTTPException):
                self.unknown.append(rows)
                return
            if answer.status != 200 or "error" in answer.text:
                # only a node that is going down may refuse
                self.unknown.append(rows)
                self.wrong = answer
                return
            self.acked.append(rows)


class Story:
    """What the node must hold after all rounds so far."""

    def __init__(self):
        self.acked = set()    # (client, n)
        self.groups = []      # rows of a transaction whose outcome is unknown: all or none
        self.maybe = set()    # rows that may be there

    def add(self, writer):
        for rows in writer.acked:
            self.acked.update((writer.client, n) for n in rows)
        for rows in writer.unknown:
            group = {(writer.client, n) for n in rows}
            self.maybe |= group
            if writer.kind == "transaction":
                self.groups.append(group)

    def check(self, rows):
        counts = collections.Counter(map(tuple, rows))
        lost = [r for r in self.acked if counts[r] == 0]
        assert not lost, "acknowledged, but lost: %s" % sorted(lost)[:20]
        twice = [r for r, n in counts.items() if n > 1]
        assert not twice, "applied more than once: %s" % sorted(twice)[:20]
        strange = [r for r in counts if r not in self.acked and r not in self.maybe]
        assert not strange, "never asked for: %s" % sorted(strange)[:20]
        for group in self.groups:
            there = sum(1 for r in group if r in counts)
            assert there in (0, len(group)), "half a transaction: %s" % sorted(group)
        # From now on what is there must stay, and what is not must not come back.
        self.acked = set(counts)
        self.maybe, self.groups = set(), []


KINDS = ["single", "single", "transaction", "queued", "returning", "single"]


SNAPSHOTS = ["-raft-snap", "20", "-raft-snap-int", "20ms"]  # all the time


@pytest.mark.parametrize("mode", [[], ["-on-disk"], SNAPSHOTS, ["-on-disk"] + SNAPSHOTS],
                         ids=["memory", "disk", "memory-snapshots", "disk-snapshots"])
def test_acknowledged_writes_survive_kill_exactly_once(node, mode):
    rand = random.Random("%d %s" % (SEED, mode))
    print("SEED=%d" % SEED)  # shown when the test fails
    node.start(*mode)
    node.execute("CREATE TABLE log(id INTEGER PRIMARY KEY, client TEXT, n INTEGER, filler TEXT)")
    story = Story()
    first = collections.Counter()
    total = 0
    for number in range((ROUNDS + 3) // 4):
        writers = [Writer(node, "%s%d" % (kind, i), first["%s%d" % (kind, i)], kind) for i, kind in enumerate(KINDS)]
        for w in writers:
            w.start()
        time.sleep(rand.choice([0.01, 0.05, 0.1, 0.3, 0.6]) * rand.random())  # the random moment
        node.kill()
        for w in writers:
            w.join()
            assert w.wrong is None, w.wrong
            first[w.client] = w.next
            story.add(w)
        if rand.random() < 0.25:  # also while it recovers
            node.launch()
            time.sleep(0.05 * rand.random())
            node.kill()
        node.start()
        story.check(node.query("SELECT client, n FROM log"))
        assert node.query("SELECT id FROM log GROUP BY id HAVING count(*) > 1") == []
        if "-on-disk" in mode:
            db = sqlite3.connect("file:%s?mode=ro" % node.in_data("db.sqlite"), uri=True)
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            story.check(db.execute("SELECT client, n FROM log").fetchall())
            db.close()
        total = len(story.acked)
        assert number == 0 or total > 0
    assert total > 5 * ROUNDS, "hardly any load: %d rows" % total
    node.restart()
    story.check(node.query("SELECT client, n FROM log"))


def test_queued_writes_are_flushed_by_an_orderly_stop(running):
    running.execute("CREATE TABLE q(n INTEGER)")
    for n in range(500):
        assert running.post("/db/execute?queue", [["INSERT INTO q VALUES(?)", n]]).status == 200
    running.stop().start()
    assert running.query("SELECT count(*), count(DISTINCT n) FROM q") == [[500, 500]]


def test_what_one_client_wrote_keeps_its_order(running):
    running.execute("CREATE TABLE q(id INTEGER PRIMARY KEY, n INTEGER)")
    c = running.connect()
    for n in range(300):
        running.post("/db/execute?queue", [["INSERT INTO q(n) VALUES(?)", n]], connection=c)
    running.post("/db/execute?queue&wait", [], connection=c)
    assert running.query("SELECT n FROM q ORDER BY id") == [[n] for n in range(300)]
    running.kill().start()
    assert running.query("SELECT n FROM q ORDER BY id") == [[n] for n in range(300)]
