"""A follower that does not take what it is sent costs the leader bounded memory, and no writes.

What a node holds grows with its database, so the rows are few and are written again and again.
"""
import base64
import os
import threading
import time

import pytest

from chaos import ROUNDS, Cluster
from conftest import SANITIZED, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")

VALUE = base64.b64encode(os.urandom(75_000)).decode()  # 100 kB that cannot be packed
MB = 1 << 20
WRITES = 1000  # of 100 kB each, so that what is kept for a follower would show
ALLOWED = 48 * MB


class Writers:
    """Overwrite the same few large rows."""

    def __init__(self, node, n=4):
        self.node, self.count, self.failed = node, 0, None
        self.over = threading.Event()
        node.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, v)")
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, i):
        c = self.node.connect()
        while not self.over.is_set():
            answer = self.node.post("/db/execute", [["INSERT OR REPLACE INTO big VALUES(?, ?)", i, VALUE]], connection=c)
            if answer.status != 200 or "error" in answer.text:
                self.failed = answer
                return
            self.count += 1

    def more(self, n):
        end = self.count + n
        wait_until(lambda: self.failed or self.count >= end, "%d writes, there are %d" % (end, self.count), timeout=600)
        assert not self.failed, self.failed

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join()


@pytest.fixture
def cluster(directory):
    c = Cluster(directory, ["-raft-snap-int", "200ms", "-raft-snap", "200"])
    for name in ("-raft-heartbeat-timeout", "-raft-election-timeout", "-raft-leader-lease-timeout"):
        c.flags[c.flags.index(name) + 1] = "3s"  # large writes on a slow disk are no reason for elections
    c.start(3)
    yield c
    c.close()


@pytest.mark.parametrize("how", ["dead", "suspended", "cut off", "slow"])
def test_a_follower_that_takes_nothing_costs_bounded_memory(cluster, how):
    leader = cluster.wait_leader()
    follower = cluster.followers(leader)[0]
    writers = Writers(leader)
    try:
        writers.more(WRITES // 2)
        before = {n.id: n.rss() for n in cluster.nodes}
        if how == "dead":
            follower.kill()
        elif how == "suspended":
            follower.pause()
        elif how == "cut off":
            cluster.network.isolate(follower.id)
        else:
            cluster.network.slow(leader.id, follower.id, 100_000)
        peak, start = 0, time.monotonic()
        for _ in range(max(1, ROUNDS) * 10):
            writers.more(WRITES // 10)
            peak = max(peak, leader.rss())
        assert cluster.wait_leader() is leader
        print("%s: leader's memory %d MB before, at most %d MB later, after %d MB written in %.1f s" % (
            how, before[leader.id] // MB, peak // MB, writers.count * len(VALUE) // MB, time.monotonic() - start))
        assert peak < before[leader.id] + ALLOWED, (before[leader.id], peak)
    finally:
        writers.stop()
    start = time.monotonic()
    cluster.mend()
    cluster.wait_same()
    caught_up = time.monotonic() - start
    print("caught up in %.1f s" % caught_up)
    assert caught_up < 20
    for node in cluster.nodes:
        assert node.rss() < max(before.values()) + ALLOWED + 32 * MB, (node.id, before, node.rss())


@pytest.mark.skipif(not ROUNDS, reason="only for make soak")
def test_memory_stays_flat_over_a_long_run(cluster):
    """No growth from one part of a run to the next, on any node."""
    writers = Writers(cluster.wait_leader())
    try:
        writers.more(WRITES)
        sizes = []
        for _ in range(10):
            writers.more(WRITES * ROUNDS // 10)
            sizes.append([n.rss() // MB for n in cluster.nodes])
        print("memory in MB, by node: %s" % sizes)
        for node in zip(*sizes):
            assert min(node[5:]) <= max(node[:5]) + 8, sizes
    finally:
        writers.stop()
    cluster.wait_same()
