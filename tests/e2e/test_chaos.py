"""Clusters of real processes under faults: nothing acknowledged is lost, nothing is applied twice, reads
are linearizable, and in the end every node holds the same.

ROUNDS=n repeats the faults of each story (make soak); SEED=n repeats a run's choices.
"""
import http.client
import itertools
import json
import random
import shutil
import signal
import socket
import threading
import time

import pytest

from chaos import ELECTION, ROUNDS, SEED, SNAPSHOTS, Cluster, Load
from conftest import PATIENCE, wait_until


@pytest.fixture
def make_cluster(directory):
    clusters = []

    def make(n, *flags):
        cluster = Cluster(directory, flags)
        clusters.append(cluster)
        return cluster.start(n)

    loads = []

    def load(cluster, **more):
        loads.append(Load(cluster, **more))
        return loads[-1]

    make.load = load
    yield make
    for l in loads:
        l.over.set()
    failures = []
    for c in clusters:
        try:
            c.close()
        except AssertionError as e:
            failures.append(str(e))
    assert not failures, "\n".join(failures)


@pytest.fixture
def rand(request):
    return random.Random("%d %s" % (SEED, request.node.name))


def rounds(few):
    return ROUNDS or few


# --- processes -----------------------------------------------------------------------------------


def victims_of(cluster, who, rand):
    leader = cluster.wait_leader()
    others = cluster.followers(leader)
    n = len(cluster.nodes)
    return {"leader": [leader], "follower": [rand.choice(others)], "all": list(cluster.nodes),
            "majority": rand.sample(cluster.nodes, n // 2 + 1),
            "leader and another": [leader, rand.choice(others)]}[who]


@pytest.mark.parametrize("n,who,flags", [
    (3, "leader", []), (3, "follower", SNAPSHOTS), (3, "majority", SNAPSHOTS), (3, "all", []),
    (3, "all", ["-on-disk", *SNAPSHOTS]), (5, "leader and another", ["-on-disk"]), (5, "majority", SNAPSHOTS)],
    ids=["leader", "follower", "majority", "all", "all-disk", "two-of-five", "majority-of-five"])
def test_killed(make_cluster, rand, n, who, flags):
    cluster = make_cluster(n, *flags)
    load = make_cluster.load(cluster)
    for _ in range(rounds(2)):
        load.wait_acked(rand.choice([1, 20, 60]), "before the kill")
        victims = victims_of(cluster, who, rand)
        for node in victims:
            node.kill()
        if len(cluster.up()) > n // 2:
            load.wait_acked(20, "while %s of %d are dead" % ([v.id for v in victims], n))
        elif cluster.up() and rand.random() < 0.5:
            load.wait_trouble()
        rand.shuffle(victims)
        for node in victims:
            node.launch()
        if rand.random() < 0.3:  # once more, while it recovers
            victims[0].wait_log("opening store")
            victims[0].kill()
            victims[0].launch()
        cluster.wait_ready()
    load.finish()


def test_killed_while_it_joins_again(make_cluster, rand):
    """A node that dies again and again at any moment of its start."""
    cluster = make_cluster(3, *SNAPSHOTS)
    load = make_cluster.load(cluster)
    load.wait_acked(50)
    node = rand.choice(cluster.followers())
    for _ in range(rounds(6)):
        node.kill()
        node.launch()
        end = time.monotonic() + rand.random() * rand.choice([0.01, 0.05, 0.3])
        wait_until(lambda end=end: time.monotonic() > end, "the random moment", pause=0.001)
    load.finish()


def test_a_leader_that_was_suspended(make_cluster, rand):
    """SIGSTOP for longer than it takes to elect another.  What it holds is old when it goes on; requests
    that wait in its sockets must not be answered from it, nor be acknowledged and lost."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster, clients=6)
    for n in range(rounds(3)):
        load.wait_acked(10)
        old = cluster.wait_leader()
        old.execute("CREATE TABLE IF NOT EXISTS mark(n INTEGER)", "INSERT INTO mark VALUES(%d)" % (2 * n))
        reads = [late_request(old, "POST", "/db/query?level=" + level, '["SELECT max(n) FROM mark"]')
                 for level in ("linearizable", "strong", "linearizable", "weak")]
        writes = [late_request(old, "POST", "/db/execute", '["INSERT INTO mark VALUES(%d)"]' % (-1000 * n - w - 1))
                  for w in range(3)]
        old.pause()
        new = cluster.wait_leader(other_than=old)
        new.execute("INSERT INTO mark VALUES(%d)" % (2 * n + 1))
        load.wait_acked(10, "without the suspended leader")
        for request in reads + writes:
            request.send()
        old.go_on()
        for request in reads[:3]:
            answer = request.answer()
            if answer.get("values"):
                assert answer["values"] == [[2 * n + 1]], "an old value: %s" % answer
        reads[3].answer()
        acked = [w for w, request in enumerate(writes) if "rows_affected" in request.answer()]
        cluster.wait_ready()
        there = [m for m, in new.query("SELECT n FROM mark WHERE n < 0", params="?level=linearizable")]
        for w in range(3):
            assert there.count(-1000 * n - w - 1) in ([1] if w in acked else [0, 1]), (acked, there)
    load.finish()


class late_request:
    """A request on a connection that exists already, so that the kernel takes it for a stopped process."""

    def __init__(self, node, method, path, body):
        self.s = socket.create_connection(("127.0.0.1", node.http), PATIENCE)
        self.data = ("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     "Content-Length: %d\r\n\r\n%s" % (method, path, len(body), body)).encode()

    def send(self):
        self.s.sendall(self.data)

    def answer(self):
        """The one result, {} if it was refused."""
        r = http.client.HTTPResponse(self.s)
        try:
            r.begin()
            body = r.read()
            return json.loads(body).get("results", [{}])[0] if r.status == 200 else {}
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            self.s.close()


def test_suspended_followers(make_cluster, rand):
    cluster = make_cluster(5)
    load = make_cluster.load(cluster)
    for _ in range(rounds(2)):
        load.wait_acked(20)
        victims = rand.sample(cluster.followers(), 2)
        for node in victims:
            node.pause()
        load.wait_acked(40, "with two of five suspended")
        for node in victims:
            node.go_on()
        cluster.wait_ready()
    load.finish()


# --- networks ------------------------------------------------------------------------------------


def test_leader_cut_off(make_cluster):
    """The old leader stays reachable for clients, and must neither acknowledge nor answer from what it has."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    for _ in range(rounds(2)):
        load.wait_acked(20)
        old = cluster.wait_leader()
        cluster.network.isolate(old.id)
        cluster.wait_leader(other_than=old)
        load.wait_acked(30, "without the old leader")
        wait_until(lambda old=old: old.status("store.raft").get("state") != "Leader", "a leader that steps down")
        assert old.get("/db/query?level=linearizable&timeout=1s&q=SELECT+1").status == 503
        cluster.network.heal()
        cluster.wait_ready()
    load.finish()


@pytest.mark.parametrize("how", ["to", "from", "to some"])
def test_one_way(make_cluster, how):
    """Nothing reaches the leader; or nothing from it reaches the others; or one other."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    for _ in range(rounds(1)):
        load.wait_acked(20)
        old = cluster.wait_leader()
        if how == "to":
            cluster.network.cut("*", old.id)
        elif how == "from":
            cluster.network.cut(old.id, "*")
        else:
            cluster.network.cut(cluster.followers(old)[0].id, old.id)
        if how != "to some":
            cluster.wait_leader(other_than=old)
        load.wait_acked(30, "with a link that goes one way")
        cluster.network.heal()
        cluster.wait_ready()
    load.finish()


def test_flapping_links(make_cluster, rand):
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    net = cluster.network
    ids = [n.id for n in cluster.nodes]
    for _ in range(rounds(12)):
        load.wait_acked(rand.choice([1, 5, 15]))
        for _ in range(rand.randrange(1, 4)):
            a, b = rand.sample(ids, 2)
            rand.choice([net.cut, net.hold, net.refuse, lambda a, b: net.delay(a, b, 0.05),
                         lambda a, b: net.isolate(a), lambda a, b: net.reset(a, b)])(a, b)
        end = time.monotonic() + rand.random() * 2 * ELECTION
        wait_until(lambda end=end: time.monotonic() > end, "the random moment")
        net.heal()
    load.finish()


def test_delays(make_cluster, rand):
    """A slow network is slow, and nothing else: the leader stays."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    load.wait_acked(20)
    for a, b in itertools.permutations([n.id for n in cluster.nodes], 2):
        cluster.network.delay(a, b, 0.01 + 0.02 * rand.random())
    load.wait_acked(rounds(1) * 100, "over a slow network")
    load.finish()


def test_a_bridge(make_cluster):
    """Five nodes in two halves of two, which both reach the fifth, and each other not."""
    cluster = make_cluster(5)
    load = make_cluster.load(cluster)
    load.wait_acked(20)
    leader = cluster.wait_leader()
    others = [n.id for n in cluster.followers(leader)]
    cluster.network.partition([leader.id, others[0]], others[1:3])  # others[3] is the bridge
    load.wait_acked(50, "over a bridge")
    load.finish()


# --- members -------------------------------------------------------------------------------------


def test_churn(make_cluster, rand):
    """Nodes come and go, come back with and without data, as voters and as replicas, while clients work."""
    cluster = make_cluster(3, *SNAPSHOTS)
    base = list(cluster.nodes)
    load = make_cluster.load(cluster, nodes=lambda: [n for n in base if n.alive()])
    extra = cluster.make("extra")
    for n in range(rounds(4)):
        replica = rand.random() < 0.5
        extra.start(*cluster.flags, *cluster.join_flags(extra), *(["-raft-non-voter"] if replica else []))
        load.wait_acked(10, "with one more")
        wait_until(lambda replica=replica: extra.status("store.raft").get("voter") is not replica, "the role")
        way = rand.choice(["remove", "remove dead", "restart", "kill"])
        if way in ("restart", "kill"):
            extra.stop() if way == "restart" else extra.kill()
            load.wait_acked(5)
            extra.start()
        if way == "remove dead":
            extra.kill()
        asked = rand.choice(base)
        wait_until(lambda asked=asked: asked.ask("DELETE", "/remove", {"id": "extra"}).status == 200, "the removal")
        wait_until(lambda: "extra" not in base[0].get("/nodes?nonvoters").json, "the member to be gone")
        load.wait_acked(10, "with one less")
        if extra.alive():
            wait_until(lambda: extra.get("/readyz").status == 503, "the removed node to notice")
            extra.stop()
        if rand.random() < 0.5:
            shutil.rmtree(extra.data)
    cluster.nodes.remove(extra)
    load.finish()


def test_leadership_goes_round(make_cluster, rand):
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    for _ in range(rounds(6)):
        load.wait_acked(10)
        leader = cluster.wait_leader()
        target = rand.choice(cluster.followers(leader))
        answer = rand.choice(cluster.nodes).post("/leader?wait", rand.choice([{"id": target.id}, None]))
        assert answer.status in (200, 500, 503), answer
        if answer.status == 200:
            cluster.wait_leader(other_than=leader)
    load.finish()


# --- restarts ------------------------------------------------------------------------------------


def test_rolling_restart(make_cluster):
    """SIGTERM to one after the other: the leader hands over, and writes hardly pause."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    gaps = []
    for _ in range(rounds(1)):
        for node in list(cluster.nodes):
            load.wait_acked(20)
            leads = cluster.wait_leader() is node
            start = time.monotonic_ns()
            node.stop()
            load.wait_acked(20, "while one is restarted")
            gaps.append(("leader" if leads else "follower", round(load.longest_gap(start) * 1000)))
            node.start()
            cluster.wait_ready()
    print("longest gaps in writes, ms: %s" % gaps)
    load.finish()


@pytest.mark.parametrize("flags", [[], ["-on-disk"]], ids=["memory", "disk"])
def test_a_follower_that_needs_a_snapshot(make_cluster, flags):
    """Down for longer than the log is kept; caught up while writes go on; killed while it is sent one."""
    cluster = make_cluster(3, *SNAPSHOTS, *flags)
    load = make_cluster.load(cluster, filler=20000)
    load.wait_acked(20)
    leader = cluster.wait_leader()
    node = cluster.followers(leader)[0]
    for n in range(rounds(2)):
        node.kill()
        last = leader.status("store.raft")["last_log_index"]
        wait_until(lambda last=last: all(
            (lambda r: r and r["last_snapshot_index"] > last + 10)(m.status("store.raft"))
            for m in cluster.up()), "a log that starts later")
        load.wait_acked(20)
        if n == 0:
            for other in cluster.up():  # so that there is a while in which it can be killed
                cluster.network.slow(other.id, node.id, 200_000)
            node.launch()
            before = sum(v for (_, to), v in cluster.network.counts().items() if to == node.id)
            wait_until(lambda before=before: sum(
                v for (_, to), v in cluster.network.counts().items() if to == node.id) > before + 30000, "pieces")
            node.kill()
            cluster.network.heal()
        node.start()
    load.finish()


def test_a_slow_follower_slows_nobody(make_cluster):
    cluster = make_cluster(3)
    load = make_cluster.load(cluster)
    load.wait_acked(50)
    leader = cluster.wait_leader()
    slow = cluster.followers(leader)[0]
    cluster.network.slow(leader.id, slow.id, 20_000)
    load.wait_acked(300, "beside a slow follower")
    load.finish()


# --- everything ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [SNAPSHOTS, ["-on-disk", *SNAPSHOTS]], ids=["memory", "disk"])
def test_anything_at_any_time(make_cluster, rand, flags):
    """Five nodes; some are dead, suspended or cut off at any time, now and then the majority."""
    cluster = make_cluster(5, *flags)
    load = make_cluster.load(cluster, clients=10)
    net, ending, broken = cluster.network, set(), set()
    for _ in range(rounds(10)):
        load.wait_acked(rand.choice([1, 5, 30]))
        for node in rand.sample(cluster.nodes, rand.choice([1, 1, 2, 2, 3, 5])):
            how = rand.choice(["kill", "kill", "stop", "pause", "cut", "one way", "other way", "reset", "snapshot"])
            if node in broken:
                continue
            if how not in ("reset", "snapshot"):
                broken.add(node)
            if how == "kill":
                node.kill()
            elif how == "stop":
                node.process.send_signal(signal.SIGTERM)
                ending.add(node)
            elif how == "pause":
                node.pause()
            elif how == "cut":
                net.isolate(node.id)
            elif how == "one way":
                net.cut(node.id, "*")
            elif how == "other way":
                net.cut("*", node.id)
            elif how == "reset":
                net.reset("*", node.id)
            elif how == "snapshot":
                threading.Thread(target=quietly, args=(node.post, "/snapshot"), daemon=True).start()
        end = time.monotonic() + rand.choice([0.02, 0.5, 2]) * rand.random()
        wait_until(lambda end=end: time.monotonic() > end, "the random moment")
        if len(broken) > 2 or rand.random() < 0.6:
            for node in ending:
                assert node.wait_end() == 0, node.log()[-3000:]
            ending.clear()
            broken.clear()
            cluster.mend()
    for node in ending:
        assert node.wait_end() == 0, node.log()[-3000:]
    load.finish()


def quietly(f, *args):
    try:
        f(*args, timeout=5)
    except (OSError, http.client.HTTPException):
        pass


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_gap_when_the_leader_goes(make_cluster, how):
    """Printed for those who look; the bound is far from the target, so that a busy machine passes."""
    cluster = make_cluster(3)
    load = make_cluster.load(cluster, clients=6, kinds=["record"], pace=0.002, filler=0)
    gaps = []
    for _ in range(rounds(3)):
        load.wait_acked(50)
        leader = cluster.wait_leader()
        start = time.monotonic_ns()
        if how == "killed":
            leader.kill()
        else:
            leader.process.send_signal(signal.SIGTERM)
        load.wait_acked(50, "after the leader has gone")
        gaps.append(load.longest_gap(start))
        if how == "stopped":
            assert leader.wait_end() == 0
        leader.start()
        cluster.wait_ready()
    print("leader %s: longest gaps in writes, ms: %s; election timeout %d ms" % (
        how, [round(g * 1000) for g in gaps], ELECTION * 1000))
    assert min(gaps) < (10 * ELECTION if how == "killed" else 3 * ELECTION)
    load.finish()
