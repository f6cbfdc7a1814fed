"""What the tests of broken clusters share: clusters behind a breakable network, clients that record
what they saw, and the judgement of it.

A story is: start a Cluster, start a Load on it, break things and mend them, then Load.finish(), which
mends what is left, waits until all nodes hold the same, and checks everything any client was told.
"""
import collections
import http.client
import itertools
import json
import os
import random
import signal
import socket
import threading
import time

from conftest import PATIENCE, SANITIZED, Node, basic, wait_until
from linearize import NEVER, Op, check_counter, check_register
from proxy import Network

ROUNDS = int(os.environ.get("ROUNDS") or 0)  # 0: as many as make test has time for
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))

# Elections that don't take long, and yet don't happen because a busy machine let a node wait.
ELECTION = 1.5 if SANITIZED else 0.3
TIMING = ["-raft-heartbeat-timeout", "%dms" % (ELECTION * 1000), "-raft-election-timeout", "%dms" % (ELECTION * 1000),
          "-raft-leader-lease-timeout", "%dms" % (ELECTION * 500)]
SNAPSHOTS = ["-raft-snap", "50", "-raft-snap-int", "50ms"]  # all the time


class Member(Node):
    """A node that others reach through the network between them."""

    def __init__(self, directory, node_id, network):
        os.mkdir(directory)
        super().__init__(directory, node_id)
        self.advertised = network.add(node_id, self.raft)
        self.paused = False

    def command(self, *flags):
        return super().command("-raft-adv-addr", "127.0.0.1:%d" % self.advertised, *flags)

    @property
    def incarnation(self):
        return "%s/%d" % (self.id, self.starts)

    def pause(self):
        """As when a machine is suspended: the process exists, but does nothing."""
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def kill(self):
        super().kill()
        self.paused = False
        return self

    def status(self, key="store"):
        """A part of /status, {} if the node doesn't answer."""
        if not self.alive() or self.paused:
            return {}
        try:
            answer = self.get("/status?key=" + key, timeout=5)
        except (OSError, http.client.HTTPException):
            return {}
        return answer.json if answer.status == 200 else {}

    def ready(self, params=""):
        try:
            return self.alive() and not self.paused and self.get("/readyz" + params, timeout=5).status == 200
        except (OSError, http.client.HTTPException):
            return False


class Cluster:
    def __init__(self, directory, flags=()):
        self.directory, self.flags = directory, [*TIMING, *flags]
        self.network = Network()
        self.nodes = []

    def make(self, node_id=None):
        """A node that is not started yet."""
        node_id = node_id or str(len(self.nodes) + 1)
        node = Member(os.path.join(self.directory, "node" + node_id), node_id, self.network)
        self.nodes.append(node)
        return node

    def start(self, n):
        """The first n nodes."""
        self.make().start(*self.flags)
        for _ in range(n - 1):
            node = self.make()
            node.launch(*self.flags, *self.join_flags(node))
        self.wait_ready()

        def voters():
            members = self.nodes[0].status().get("nodes", [])
            return sum(m["suffrage"] == "voter" for m in members) == n
        try:
            wait_until(voters, "%d voters" % n)
        except AssertionError as e:
            raise AssertionError("%s\n%s" % (e, self.logs())) from None
        return self

    def join_flags(self, node):
        return ["-join", ",".join("127.0.0.1:%d" % n.advertised for n in self.nodes[:3] if n is not node),
                "-join-interval", "100ms", "-join-attempts", "100"]

    def wait_ready(self):
        for node in self.up():
            node.wait_ready()
        return self

    def up(self):
        return [n for n in self.nodes if n.alive() and not n.paused]

    def leader(self):
        """The node that leads by its own account; the newest if an older one does not know better yet."""
        leaders = []
        for node in self.up():
            raft = node.status("store.raft")
            if raft.get("state") == "Leader":
                leaders.append((raft["term"], node))
        return max(leaders, key=lambda l: l[0])[1] if leaders else None

    def wait_leader(self, other_than=None):
        return wait_until(lambda: (lambda n: n if n is not other_than else None)(self.leader()), "a leader\n" + self.logs())

    def followers(self, leader=None):
        leader = leader or self.wait_leader()
        return [n for n in self.nodes if n is not leader]

    def mend(self):
        """Everything runs and is connected again."""
        self.network.heal()
        for node in self.nodes:
            if node.paused:
                node.go_on()
            if not node.alive():
                node.launch()
        return self.wait_ready()

    def wait_same(self):
        """All nodes have applied the same entries, to the same effect, and hold the same database."""
        def positions():
            stores = [n.status() for n in self.nodes]
            at = [(s.get("fsm_index"), s.get("effect_hash"), s.get("raft", {}).get("commit_index")) for s in stores]
            self.positions = at
            return at[0][0] is not None and len({a[0] for a in at}) == 1 and at[0][0] == at[0][2] and at
        try:
            at = wait_until(positions, "nodes that have caught up")
        except AssertionError as e:
            raise AssertionError("%s: %s\n%s" % (e, self.positions, self.logs())) from None
        assert len({a[1] for a in at}) == 1, "different effects: %s\n%s" % (at, self.logs())
        dumps = [n.get("/db/backup?fmt=sql&noleader") for n in self.nodes]
        assert all(d.status == 200 for d in dumps), dumps
        if positions() != at:  # a queue still had something to write
            return self.wait_same()
        for node, dump in zip(self.nodes, dumps):
            assert dump.body == dumps[0].body, "nodes %s and %s differ: %s" % (
                self.nodes[0].id, node.id, first_difference(dumps[0].text, dump.text))
        return None

    def logs(self):
        return "\n".join("--- node %s\n%s" % (n.id, n.log()[-1500:]) for n in self.nodes)

    def close(self):
        failures = []
        try:
            self.network.heal()
        except (AssertionError, OSError) as e:
            failures.append(str(e))
        for node in self.nodes:  # together: the last ones have no quorum to hand over to
            if node.alive():
                node.wake()
                node.process.terminate()
        for node in self.nodes:
            try:
                node.clean_up()
            except AssertionError as e:
                failures.append("node %s: %s" % (node.id, e))
        self.network.close()
        assert not failures, "\n".join(failures)


def first_difference(a, b):
    return next(((x, y) for x, y in itertools.zip_longest(a.split("\n"), b.split("\n")) if x != y), None)


# --- clients -------------------------------------------------------------------------------------

REGISTERS = ["r0", "r1", "r2"]
COUNTERS = ["c0", "c1"]
QUEUED = "queued"  # a batch of queued writes is tried until it succeeds, so it may be written more than once
SCHEMA = ["CREATE TABLE reg(k TEXT PRIMARY KEY, v TEXT)",
          "CREATE TABLE counter(k TEXT PRIMARY KEY, n INTEGER)",
          "CREATE TABLE log(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, k TEXT, filler BLOB)",
          *["INSERT INTO reg(k) VALUES('%s')" % k for k in REGISTERS],
          *["INSERT INTO counter VALUES('%s', 0)" % k for k in COUNTERS]]
RECORD = "INSERT INTO log(id, k, filler) VALUES(?, ?, zeroblob(?))"
KINDS = ["write"] * 4 + ["add"] * 2 + ["record", "queued", "linearizable", "linearizable", "linearizable", "strong", "weak",
                                       "none"]
OP_TIMEOUT = 20 if SANITIZED else 4  # seconds until a client gives up


class Refused(Exception):
    """Certainly not carried out."""


class Unknown(Exception):
    """Carried out or not."""


class Client(threading.Thread):
    """One request after the other, to one node or another."""

    def __init__(self, load, name, nodes, kinds, pace, filler):
        super().__init__(daemon=True)
        self.load, self.client, self.kinds, self.pace, self.filler = load, name, kinds, pace, filler
        self.rand = random.Random("%s %s" % (load.seed, name))
        self.nodes = nodes  # a function: those it may ask
        self.connections = {}
        self.n = 0
        self.wrong = None

    def run(self):
        try:
            while not self.load.over.is_set():
                pause = self.pace
                try:
                    self.one()
                except (Refused, Unknown):
                    pause = 0.02
                if pause:
                    self.load.over.wait(pause * 2 * self.rand.random())
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
        finally:
            for c in self.connections.values():
                c.close()

    @staticmethod
    def headers(node):
        """Of every request to it."""
        return {} if node.login is None else {"Authorization": basic(node.login)}

    def ask(self, node, path, body, level=None, headers=None):
        """The answer's results."""
        key = node.incarnation
        c = self.connections.get(key)
        sent = False
        try:
            if c is None:
                c = node.connect(OP_TIMEOUT)
                c.connect()
                self.connections[key] = c
            sent = True
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **self.headers(node), **(headers or {})})
            r = c.getresponse()
            status, text = r.status, r.read().decode("utf-8")
        except (OSError, http.client.HTTPException) as e:
            if c is not None:
                c.close()
            self.connections.pop(key, None)
            raise (Unknown if sent else Refused)(repr(e)) from None
        if status == 503:
            raise Refused(text)
        if status == 408:  # a queued write that waited too long
            raise Unknown(text)
        if status != 200:
            raise AssertionError("%s: %d %s" % (path, status, text))
        answer = json.loads(text)
        if "error" in answer:
            self.load.errors[answer["error"]] += 1
            raise Unknown(answer["error"])
        for result in answer["results"]:
            if "error" in result:
                # Before it has applied what it had committed, a node may answer only those who ask for no level.
                assert level == "none" or not result["error"].startswith("no such table"), (node.incarnation, path, result)
                self.load.errors[result["error"]] += 1
                raise Unknown(result["error"])
        return answer["results"]

    def one(self):
        nodes = self.nodes()
        if not nodes:
            raise Refused("no node")
        node, kind = self.rand.choice(nodes), self.rand.choice(self.kinds)
        params = "&timeout=%ds&retries=%d" % (OP_TIMEOUT // 4, self.rand.randrange(3))
        filler = self.rand.randrange(self.filler) if self.filler else 0
        self.n += 1
        op_id = "%s-%d" % (self.client, self.n)
        call = time.monotonic_ns()

        if kind in ("linearizable", "strong", "weak", "none"):
            k = self.rand.choice(REGISTERS + COUNTERS)
            sql = "SELECT v FROM reg WHERE k = ?" if k in REGISTERS else "SELECT n FROM counter WHERE k = ?"
            incarnation = node.incarnation
            results = self.ask(node, "/db/query?level=%s&linearizable_timeout=%ds%s" % (kind, OP_TIMEOUT - 1, params), [[sql, k]], kind)
            if kind == "none" and not results[0].get("values"):
                raise Unknown("no row yet")  # between the statements of the schema, while the log is replayed
            assert results[0].get("values"), (kind, incarnation, results)
            value = results[0]["values"][0][0]
            op = Op("read", value, call, time.monotonic_ns(), "%s by node %s" % (kind, incarnation))
            self.load.reads[kind, k, incarnation].append(op)
            self.load.read_count += 1
            return

        # Recorded before it is sent: others may see it before this client hears of it.
        k = {"write": REGISTERS, "add": COUNTERS, "queued": [QUEUED]}.get(kind, ["-"])
        k = self.rand.choice(k)
        op = Op("write", op_id, call, NEVER, "through node %s" % node.incarnation)
        self.load.writes[op_id] = (k, op)
        record = [RECORD, op_id, k, filler]
        try:
            if kind == "write":
                results = self.ask(node, "/db/execute?transaction" + params,
                                   [["UPDATE reg SET v = ? WHERE k = ?", op_id, k], record])
            elif kind == "add":
                results = self.ask(node, "/db/request?transaction" + params,
                                   [["UPDATE counter SET n = n + 1 WHERE k = ? RETURNING n", k], record])
                self.load.made[op_id] = results[0]["values"][0][0]
            else:
                results = self.ask(node, "/db/execute?" + ("queue&wait" if kind == "queued" else "") + params, [record])
        except Refused as e:
            self.load.refused[op_id] = str(e)
            raise
        except Unknown as e:
            op.note += ", " + str(e)[:200]
            self.load.unknown += 1
            raise
        op.ret = time.monotonic_ns()
        self.load.acked_at.append(op.ret)


class Load:
    """Clients on a cluster, and what they were told."""

    def __init__(self, cluster, clients=8, nodes=None, kinds=None, pace=0.008, filler=300, seed=SEED):
        self.cluster, self.seed = cluster, seed
        print("SEED=%d" % seed)  # shown when the test fails
        self.over = threading.Event()
        self.writes = {}                            # id -> (key, Op)
        self.made = {}                              # id -> what an increment returned
        self.refused = {}                           # id -> why
        self.reads = collections.defaultdict(list)  # (level, key, incarnation) -> [Op]
        self.errors = collections.Counter()
        self.acked_at = []
        self.unknown = self.read_count = 0
        cluster.wait_leader().execute(*SCHEMA)
        self.clients = [Client(self, "%s%d" % ("abcdefghij"[i % 10], i), nodes or cluster.up, kinds or KINDS, pace, filler)
                        for i in range(clients)]
        for c in self.clients:
            c.start()

    @property
    def acked(self):
        return len(self.acked_at)

    def wait_acked(self, n, what="progress", start=None):
        """n writes that were called from now on and acknowledged."""
        start = start or time.monotonic_ns()

        def enough():
            for c in self.clients:
                assert c.wrong is None, repr(c.wrong)
            recent = itertools.takewhile(lambda at: at > start, reversed(self.acked_at))
            return sum(1 for _ in recent) >= n
        try:
            wait_until(enough, "%d writes: %s" % (n, what), pause=0.01)
        except AssertionError as e:
            raise AssertionError("%s\nerrors: %s\n%s" % (e, self.errors.most_common(5), self.cluster.logs())) from None

    def wait_trouble(self, n=3):
        """n clients that got no answer, or none they liked."""
        was = self.unknown + len(self.refused)
        wait_until(lambda: self.unknown + len(self.refused) >= was + n, "requests that fail")

    def longest_gap(self, start=None, end=None):
        """Between acknowledged writes, in seconds."""
        times = sorted(t for t in list(self.acked_at) if (start or 0) <= t <= (end or NEVER))
        times = ([start] if start else []) + times + ([end] if end else [])
        return max((b - a for a, b in itertools.pairwise(times)), default=0) / 1e9

    def finish(self, progress=20):
        self.cluster.mend()
        self.wait_acked(progress, "after everything was mended")
        self.stop()
        self.cluster.wait_same()
        self.judge(self.cluster.nodes[0])

    def stop(self):
        self.over.set()
        for c in self.clients:
            c.join()
            assert c.wrong is None, repr(c.wrong)

    def judge(self, node):
        log = [(i, k) for i, k in node.query("SELECT id, k FROM log ORDER BY seq", params="?level=none")]
        print("%d writes acknowledged, %d refused, %d unknown, %d in the log; %d reads; %s" % (
            self.acked, len(self.refused), self.unknown, len(log), self.read_count, dict(self.errors.most_common(5))))
        self.judge_writes(log)
        versions = {k: [None] + [i for i, key in log if key == k] for k in REGISTERS}
        for k in REGISTERS:
            assert node.one("SELECT v FROM reg WHERE k = ?", k, params="?level=none") == versions[k][-1], "half a transaction"
            ops = [op for key, op in self.writes.values() if key == k and op.value not in self.refused]
            ops += [op for (level, key, _), seen in self.reads.items() if key == k and level in ("linearizable", "strong")
                    for op in seen]
            wrong = check_register(ops)
            assert wrong is None, "%s: not linearizable: %s" % (k, wrong)
            self.judge_loose_reads(k, {v: n for n, v in enumerate(versions[k])})
        for k in COUNTERS:
            total = sum(1 for _, key in log if key == k)
            assert node.one("SELECT n FROM counter WHERE k = ?", k, params="?level=none") == total, "half a transaction"
            ops = [Op("write", self.made.get(i), op.call, op.ret, op.note) for i, (key, op) in self.writes.items()
                   if key == k and i not in self.refused]
            ops += [op for (level, key, _), seen in self.reads.items() if key == k and level in ("linearizable", "strong")
                    for op in seen]
            end = time.monotonic_ns()
            wrong = check_counter(ops + [Op("read", total, end, end, "at the end")])
            assert wrong is None, "%s: not linearizable: %s" % (k, wrong)
            self.judge_loose_reads(k, {n: n for n in range(total + 1)})

    def judge_writes(self, log):
        counts = collections.Counter(i for i, _ in log)
        lost = [op for _, op in self.writes.values() if op.known and not counts[op.value]]
        assert not lost, "acknowledged, but lost: %s" % lost[:10]
        strange = [i for i in counts if i not in self.writes]
        assert not strange, "never asked for: %s" % strange[:10]
        twice = [self.writes[i] for i, n in counts.items() if n > 1 and self.writes[i][0] != QUEUED]
        assert not twice, "applied more than once: %s" % twice[:10]
        refused = [(self.writes[i], self.refused[i]) for i in counts if i in self.refused]
        assert not refused, "refused, but applied: %s" % refused[:10]
        # The order of the log is an order in time.
        soonest = None
        for i, _ in reversed(log):
            op = self.writes[i][1]
            assert soonest is None or op.call <= soonest.ret, "%r is in the log before %r" % (op, soonest)
            if soonest is None or op.ret < soonest.ret:
                soonest = op

    def judge_loose_reads(self, k, version):
        """weak and none may be late, but tell only what was committed; and on one node, none never goes back."""
        for (level, key, incarnation), seen in self.reads.items():
            if key != k or level not in ("weak", "none"):
                continue
            for op in seen:
                assert op.value in version, "%s: not in the log: %r" % (k, op)
                if op.value in self.writes:
                    assert self.writes[op.value][1].call <= op.ret, "from the future: %r" % op
            if level == "none":
                newest = None
                by_return = sorted(seen, key=lambda o: o.ret)
                at = 0
                for op in sorted(seen, key=lambda o: o.call):
                    while by_return[at].ret < op.call:
                        if newest is None or version[by_return[at].value] > version[newest.value]:
                            newest = by_return[at]
                        at += 1
                    assert newest is None or version[op.value] >= version[newest.value], (
                        "%s on %s went back: %r, then %r" % (k, incarnation, newest, op))
