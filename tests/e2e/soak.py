"""Everything together: a cluster of a configuration drawn from a seed, clients that use all of it, and faults
of every kind, in rounds.  At the end of each round everything is mended, and then everything must hold.

    python3 -B soak.py [--seed N] [--seconds N] [--seeds N] [--keep]

A seed fixes the configuration and all choices, but not how they interleave: run a seed several times to
meet a failure again.  test_soak.py runs one seed for a short while, `make soak` many.

What is checked on top of what chaos.py does:
  writes with a key        are retried on other nodes until they are answered, and are there exactly once
  /db/load                 replaces everything at one moment: it is a write to all registers, and an epoch
                           of the counters, whose values are epoch * EPOCH + n
  backups, dumps, files    show the database between two entries, never within one
  nodes                    end only when told to (or their disk is full), are ready again when faults end,
                           hold the same, and use bounded memory, descriptors, threads and space
"""
import argparse
import bisect
import collections
import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from certificates import Authority
from chaos import COUNTERS, ELECTION, KINDS, OP_TIMEOUT, QUEUED, RECORD, REGISTERS, SCHEMA, Client, Cluster, Load, Member, \
    Refused, Unknown
from conftest import PATIENCE, SANITIZED, wait_until
from linearize import NEVER, Op, check_counter, check_register

EPOCH = 10 ** 9
MB = 1 << 20
LOGIN = "soak:a secret"
MEMORY, DESCRIPTORS, THREADS = 300 * MB, 400, 120  # more than any node needs here
WAL, SNAPSHOTS = 160 * MB, 64 * MB
NEVER_LOGGED = ("differs from the leader", "panic", "assert")
STREAM = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) SELECT i, hex(zeroblob(60)) FROM c"


# --- nodes ---------------------------------------------------------------------------------------


class SoakMember(Member):
    """A node whose disk may be full, and whose flags may change with each start."""

    disk = None      # if its calls go through faulty_disk.c: the file that says what fails
    elsewhere = ""   # where its database may be, instead of in its data directory
    expected = False  # it runs, as far as we know
    tainted = False  # by a disk that was full: it may end
    empty = False    # its data directory is, until it has joined and been promoted
    settled = 0      # the last start after which it was ready: only now the database file is its own
    base = ()        # flags that stay the same

    def launch(self, *flags, command=None, env=None):
        if self.disk:
            env = dict(os.environ, LD_PRELOAD=self.library, FAULTY_DISK=self.disk)
        super().launch(*flags, command=command, env=env)
        self.network.run_by(self.id, self.process.pid)
        self.expected = True
        return self

    def fault(self, operations="nothing", code="EIO", part="/nowhere"):
        with open(self.disk + ".new", "w", encoding="ascii") as f:
            f.write("%s %s %s\n" % (operations, code, part))
        os.rename(self.disk + ".new", self.disk)

    def database(self):
        """The file of the present flags, None in memory."""
        if "-on-disk" not in self.flags:
            return None
        return self.elsewhere if "-on-disk-path" in self.flags else self.in_data("db.sqlite")

    def ended(self):
        """Take note of an end."""
        status = self.wait_end()
        self.expected = self.paused = False
        return status

    def check_end(self, status):
        """After SIGTERM."""
        log = self.log()
        fits = status == 0 or status == -signal.SIGTERM and not log or self.tainted or self.empty and "join operation canceled" in log or "the start does not end" in log
        assert fits, "node %s: status %d: %s" % (self.id, status, self.log()[-3000:])

    def proc(self, *names):
        return "/proc/%d/%s" % (self.process.pid, "/".join(names))

    def size(self, name):
        total = 0
        for where, _, files in os.walk(self.in_data(name)):
            for f in files:
                try:
                    total += os.stat(os.path.join(where, f)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total


class SoakCluster(Cluster):
    """Drawn from rand: how many nodes, and how each is configured."""

    def __init__(self, directory, rand):
        super().__init__(directory)
        self.rand = rand
        self.n = rand.choice([3, 3, 3, 4, 5])
        self.replica = str(self.n) if self.n > 3 and rand.random() < 0.7 else None
        self.shm = tempfile.mkdtemp(prefix="rqlite-soak-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.https = self.tls = None
        self.auth = rand.random() < 0.5
        self.flags += ["-raft-snap", rand.choice(["20", "50", "200", "1000"]), "-raft-snap-int", rand.choice(["20ms", "100ms", "1s"]),
                       "-raft-snap-wal-size", rand.choice(["0", "50000", "1000000"])]
        if rand.random() < 0.5:
            self.flags += ["-compress-snap-transport"]
        if rand.random() < 0.5:
            self.flags += ["-http-stall-timeout", "2s"]
        if rand.random() < 0.3:
            self.flags += ["-write-queue-tx"]
        if rand.random() < 0.3:
            self.flags += ["-write-queue-batch-size", "3"]
        if rand.random() < 0.3:
            self.flags += ["-auto-vacuum-int", "7s", "-auto-optimize-int", "3s"]
        self.encrypt(rand.choice(["none", "none", "http", "node", "both", "both"]))
        if self.auth:
            path = os.path.join(directory, "users.json")
            user, password = LOGIN.split(":")
            with open(path, "w", encoding="ascii") as f:
                json.dump([{"username": user, "password": password, "perms": ["all"]}], f)
            self.flags += ["-auth", path, "-join-as", user]
        self.library = None
        if not SANITIZED and rand.random() < 0.6:
            self.library = os.path.join(directory, "faulty_disk.so")
            source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faulty_disk.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", self.library, source, "-ldl"], check=True)

    def encrypt(self, ports):
        if ports == "none":
            return
        ca = Authority(self.directory)
        pair = ca.issue("node")
        if ports in ("http", "both"):
            self.https = ca.context()
            self.flags += ["-http-cert", pair.cert, "-http-key", pair.key]
        if ports in ("node", "both"):
            self.flags += ["-node-cert", pair.cert, "-node-key", pair.key, "-node-ca-cert", ca.cert]
            if self.rand.random() < 0.5:
                self.flags += ["-node-verify-client"]

    def make(self, node_id=None):
        node_id = node_id or str(len(self.nodes) + 1)
        node = SoakMember(os.path.join(self.directory, "node" + node_id), node_id, self.network)
        node.network, node.context, node.login = self.network, self.https, LOGIN if self.auth else None
        node.elsewhere = os.path.join(self.shm, "node%s.db" % node_id)
        node.base = [*self.flags, *(["-raft-non-voter"] if node_id == self.replica else [])]
        self.nodes.append(node)
        return node

    def draw_mode(self, node, join=False):
        """Where its database is from now on."""
        mode = self.rand.choice([[], ["-on-disk"], ["-on-disk", "-on-disk-path", node.elsewhere]])
        node.flags = [*node.base, *mode, *(self.join_flags(node) if join else [])]

    def start(self, n):
        for i in range(n):
            node = self.make()
            if self.library and self.rand.random() < 0.4:
                node.library, node.disk = self.library, os.path.join(self.directory, "disk" + node.id)
                node.fault()
            self.draw_mode(node, i > 0)
            node.launch()
            if i == 0:
                node.wait_ready()
        self.wait_ready()
        for node in self.nodes:
            node.settled = node.starts
        wait_until(lambda: len(self.members()) == n, "%d members" % n)
        print("%d nodes%s: %s\n  %s" % (n, ", replica " + self.replica if self.replica else "", " ".join(self.flags), "; ".join(
            "%s: %s%s" % (m.id, " ".join(m.flags[len(m.base):]) or "memory", " faulty disk" if m.disk else "") for m in self.nodes)))
        return self

    def members(self):
        return self.nodes[0].status().get("nodes", [])

    def check(self):
        """Those that should run do."""
        for node in self.nodes:
            if node.expected and not node.alive():
                status = node.ended()
                assert node.tainted and status == 1, "node %s ended by itself with status %s: %s" % (
                    node.id, status, node.log()[-3000:])

    def close(self):
        for node in self.nodes:
            if node.disk:
                node.fault()
        self.check()
        try:
            super().close()
        finally:
            shutil.rmtree(self.shm, ignore_errors=True)


# --- clients -------------------------------------------------------------------------------------


def check_copy(db, what):
    """A database, as a backup or a file shows it, lies between two entries."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], what
    tables = {t for t, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"reg", "counter", "log", "epoch"} <= tables:
        assert not tables & {"reg", "counter", "log", "epoch"}, "%s: half a schema: %s" % (what, tables)
        return
    db.execute("BEGIN")
    epoch, = db.execute("SELECT n FROM epoch").fetchone()
    last, counts = {}, collections.Counter()
    for i, k in db.execute("SELECT id, k FROM log ORDER BY seq"):
        last[k] = i
        counts[k] += 1
    for k, v in db.execute("SELECT k, v FROM reg"):
        assert v == last.get(k, first_value(epoch)), "%s: half a transaction: %s" % (what, (epoch, k, v, last.get(k)))
    for k, n in db.execute("SELECT k, n FROM counter"):
        assert n == epoch * EPOCH + counts[k], "%s: half a transaction: %s" % (what, (epoch, k, n, counts[k]))
    db.execute("ROLLBACK")


def first_value(epoch):
    """Of a register."""
    return "load-%d" % epoch if epoch else None


class SoakClient(Client):
    """One that pauses while the load's gate is closed, and knows more kinds of requests."""

    idle = False

    def one(self):
        load = self.load
        if not load.gate.is_set():
            self.idle = True
            load.gate.wait()
            self.idle = False
            raise Refused("a new round")
        kind = self.rand.choice(self.kinds)
        special = getattr(self, "do_" + kind, None)
        if special is None:
            mine, self.kinds = self.kinds, [kind]
            try:
                super().one()
            finally:
                self.kinds = mine
            return
        nodes = self.nodes()
        if not nodes:
            raise Refused("no node")
        load.done[kind] += 1
        special(self.rand.choice(nodes))

    def fetch(self, node, method, path, body=None, headers=None):
        """The answer's body, if it is a good one."""
        try:
            answer = node.ask(method, path, body, headers, timeout=2 * OP_TIMEOUT)
        except (OSError, http.client.HTTPException) as e:
            self.load.errors["%s: %s" % (path.split("?")[0], type(e).__name__)] += 1
            raise Unknown(repr(e)) from None
        if answer.status == 503:
            raise Refused(answer.text)
        if answer.status not in (200, 204):
            self.load.errors["%s: %d %s" % (path.split("?")[0], answer.status, answer.text[:100])] += 1
            raise Unknown(answer.text)
        return answer

    # --- writes

    def do_keyed(self, node):
        """The same request, until somebody answers."""
        self.n += 1
        op_id = "%s-%d" % (self.client, self.n)
        counts = self.rand.random() < 0.5
        k = self.rand.choice(COUNTERS if counts else REGISTERS)
        op = Op("write", op_id, time.monotonic_ns(), NEVER, "with a key")
        self.load.writes[op_id] = (k, op)
        record = [RECORD, op_id, k, self.rand.randrange(self.filler)]
        first = ["UPDATE counter SET n = n + 1 WHERE k = ? RETURNING n", k] if counts else [
            "UPDATE reg SET v = ? WHERE k = ?", op_id, k]
        path, body = "/db/%s?transaction&timeout=%ds" % ("request" if counts else "execute", OP_TIMEOUT // 4), [first, record]
        key = {"Idempotency-Key": "key of " + op_id}
        refused = True
        if self.rand.random() < 0.2:
            self.say_and_leave(node, path, body, key)
            refused = False
        for _ in range(40):
            nodes = self.nodes()
            if self.load.over.is_set():
                break
            if nodes:
                node = self.rand.choice(nodes)
                try:
                    results = self.ask(node, path, body, headers=key)
                    op.ret = time.monotonic_ns()
                    self.load.acked_at.append(op.ret)
                    if counts:
                        self.load.made[op_id] = results[0]["values"][0][0]
                    return
                except Refused as e:
                    why = e
                except Unknown as e:
                    refused, why = False, e
                op.note += ", node %s: %s" % (node.incarnation, str(why)[:80])
            self.load.over.wait(0.05 + 0.3 * self.rand.random())
        if refused:
            self.load.refused[op_id] = op.note
        self.load.unknown += 1
        raise Unknown(op.note)

    def say_and_leave(self, node, path, body, headers, wait=0.0, method="POST"):
        try:
            c = node.connect(OP_TIMEOUT)
            try:
                c.request(method, path, None if body is None else json.dumps(body), {
                    "Content-Type": "application/json", **self.headers(node), **headers})
                if wait:
                    c.getresponse().read(1000)
                    self.load.over.wait(wait)
            finally:
                c.close()
        except (OSError, http.client.HTTPException):
            pass

    def do_load(self, node):
        load = self.load
        if not load.may_load:
            raise Refused("another load may still be under way")
        epoch = load.epochs = load.epochs + 1
        path = os.path.join(load.cluster.directory, "load.sqlite")
        make_database(path, epoch, self.rand)
        with open(path, "rb") as f:
            body = f.read()
        os.unlink(path)
        op = Op("write", first_value(epoch), time.monotonic_ns(), NEVER, "loaded through " + node.incarnation)
        load.loads[epoch] = op
        load.may_load = False
        try:
            answer = self.fetch(node, "POST", "/db/load", body, {"Content-Type": "application/octet-stream"})
        except Refused as e:
            load.refused[op.value] = str(e)
            load.may_load = True
            raise
        if "error" in answer.text:
            load.errors[answer.text] += 1
            raise Unknown(answer.text)
        op.ret = time.monotonic_ns()
        load.may_load = True

    def do_ddl(self, node):
        t = "d%d" % self.rand.randrange(4)
        sql = self.rand.choice(["CREATE TABLE IF NOT EXISTS %s(a INTEGER PRIMARY KEY, b DEFAULT (random()))", "DROP TABLE IF EXISTS %s",
                                "ALTER TABLE %s ADD COLUMN c DEFAULT 7", "INSERT INTO %s(b) VALUES (hex(randomblob(2000)))",
                                "INSERT INTO %s DEFAULT VALUES", "CREATE INDEX IF NOT EXISTS i%s ON log(id)", "DROP INDEX IF EXISTS i%s",
                                "CREATE VIEW IF NOT EXISTS v%s AS SELECT k, count(*) FROM log GROUP BY k", "DELETE FROM %s"]) % t
        self.fetch(node, "POST", "/db/execute?timeout=%ds" % OP_TIMEOUT, [sql])

    def do_vacuum(self, node):
        self.fetch(node, "POST", "/db/execute", ["VACUUM"])

    def do_analyze(self, node):
        self.fetch(node, "POST", "/db/execute", [self.rand.choice(["ANALYZE", "PRAGMA optimize", "REINDEX"])])

    # --- reads

    def do_stream(self, node):
        level = self.rand.choice(["none", "weak", "linearizable", "strong"])
        if self.rand.random() < 0.5:
            sql = "SELECT seq, id, hex(filler), (SELECT count(*) FROM log) FROM log ORDER BY seq"
        else:
            n = self.rand.randrange(1, 30000)
            sql = STREAM % n
        answer = self.fetch(node, "POST", "/db/query?level=" + level, [sql]).json
        if "error" in answer or "error" in answer["results"][0]:
            text = json.dumps(answer)[:200]
            assert level == "none" or "no such table" not in text, (node.incarnation, text)
            raise Unknown(text)
        rows = answer["results"][0].get("values", [])
        if sql.startswith("WITH"):
            assert [r[0] for r in rows] == list(range(1, n + 1)), (level, n, len(rows))
        else:
            assert all(r[3] == len(rows) for r in rows), "%s: %d rows of %s" % (level, len(rows), rows[0][3])

    def do_leave(self, node):
        path, body = "/db/query?level=" + self.rand.choice(["none", "weak", "linearizable", "strong"]), [STREAM % 200000]
        if self.rand.random() < 0.3:
            path, body = "/db/backup", None
        self.say_and_leave(node, path, body, {}, self.rand.choice([0, 0.1, 1, 4]), "POST" if body else "GET")

    def do_backup(self, node):
        params = self.rand.choice(["?", "?vacuum", "?noleader", "?compress"])
        answer = self.fetch(node, "GET", "/db/backup" + params)
        with tempfile.NamedTemporaryFile(dir=self.load.cluster.directory) as f:
            if params == "?compress":
                f.write(subprocess.run(["gzip", "-dc"], input=answer.body, stdout=subprocess.PIPE, check=True).stdout)
            else:
                f.write(answer.body)
            f.flush()
            db = sqlite3.connect("file:%s?immutable=1" % f.name, uri=True)
            check_copy(db, "backup%s of node %s" % (params, node.incarnation))
            db.close()

    def do_dump(self, node):
        answer = self.fetch(node, "GET", "/db/backup?fmt=sql" + self.rand.choice(["", "&noleader"]))
        db = sqlite3.connect(":memory:")
        try:
            db.executescript(answer.text)
        except sqlite3.Error as e:
            # Functions that need a newer library than this program's are no fault of the dump.
            raise AssertionError("a dump of node %s that does not run: %s: %s" % (node.incarnation, e, answer.text[-300:])) from None
        check_copy(db, "dump of node " + node.incarnation)
        db.close()

    def do_file(self, node):
        """As another program does, while the node runs."""
        path = node.database()
        incarnation = node.incarnation
        if path is None or not os.path.exists(path) or node.settled != node.starts:
            raise Refused("no file")
        wait = self.rand.choice([0, 0, 0.5, 2])
        try:
            db = sqlite3.connect("file:%s?mode=ro" % path, uri=True, isolation_level=None, timeout=1)
            try:
                if wait:  # holds up checkpoints
                    db.execute("BEGIN")
                    db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                    self.load.over.wait(wait)
                    db.execute("ROLLBACK")
                check_copy(db, "the file of node " + incarnation)
            finally:
                db.close()
        except (sqlite3.Error, AssertionError) as e:
            if incarnation != node.incarnation or not node.expected:
                raise Unknown("the node has ended meanwhile") from None
            if isinstance(e, AssertionError):
                raise
            if "malformed" in str(e) or "not a database" in str(e):
                raise AssertionError("the file of node %s: %s" % (node.incarnation, e)) from None
            self.load.errors["file: %s" % e] += 1

    # --- maintenance

    def do_snapshot(self, node):
        self.fetch(node, "POST", "/snapshot" + self.rand.choice(["", "?trailing_logs=1", "?trailing_logs=100"]))

    def do_reap(self, node):
        self.fetch(node, "POST", "/reap")

    def do_look(self, node):
        self.fetch(node, "GET", self.rand.choice(["/status", "/nodes?nonvoters&timeout=1s", "/metrics", "/readyz?sync&timeout=1s",
                                                  "/debug/vars"]))


def make_database(path, epoch, rand):
    db = sqlite3.connect(path, isolation_level=None)
    if rand.random() < 0.5:
        db.execute("PRAGMA page_size = %d" % rand.choice([512, 1024, 8192, 65536]))
    db.execute("BEGIN")
    for sql in SCHEMA:
        db.execute(sql)
    db.execute("CREATE TABLE epoch(n INTEGER)")
    db.execute("INSERT INTO epoch VALUES (?)", [epoch])
    db.execute("UPDATE reg SET v = ?", [first_value(epoch)])
    db.execute("UPDATE counter SET n = ?", [epoch * EPOCH])
    db.execute("CREATE TABLE bulk(id INTEGER PRIMARY KEY, b)")
    db.executemany("INSERT INTO bulk(b) VALUES (?)", ([rand.randbytes(rand.randrange(1000))] for _ in range(rand.choice([0, 100, 5000]))))
    db.execute("COMMIT")
    if rand.random() < 0.3:
        db.execute("PRAGMA journal_mode = wal")
    db.close()


class SoakLoad(Load):
    def __init__(self, cluster, seed):
        self.cluster, self.seed = cluster, seed
        self.over, self.gate = threading.Event(), threading.Event()
        self.writes, self.made, self.refused = {}, {}, {}
        self.reads = collections.defaultdict(list)
        self.errors, self.done = collections.Counter(), collections.Counter()
        self.acked_at = []
        self.unknown = self.read_count = self.epochs = 0
        self.loads = {}  # epoch -> Op
        self.may_load = True
        cluster.wait_leader().execute(*SCHEMA, "CREATE TABLE epoch(n INTEGER)", "INSERT INTO epoch VALUES(0)", params="?transaction")
        writers = KINDS + ["keyed"] * 8
        helpers = ["backup", "dump", "file", "file", "snapshot", "reap", "vacuum", "analyze", "ddl", "ddl", "look", "look"]
        self.clients = [SoakClient(self, "w%d" % i, cluster.up, writers, 0.01, 400) for i in range(7)]
        self.clients += [SoakClient(self, "l0", cluster.up, ["keyed"] * 4 + KINDS, 0.05, 20000)]
        self.clients += [SoakClient(self, "s0", cluster.up, ["stream", "stream", "leave"], 0.1, 100)]
        self.clients += [SoakClient(self, "h%d" % i, cluster.up, helpers, 0.1, 100) for i in range(2)]
        self.clients += [SoakClient(self, "L0", cluster.up, ["load"] + ["none"] * 9, 0.5, 100)]
        for c in self.clients:
            c.start()

    def stop(self):
        self.over.set()
        self.gate.set()
        for c in self.clients:
            c.join(PATIENCE)

    def check(self):
        for c in self.clients:
            if c.wrong is not None:
                raise AssertionError("client %s: %s" % (c.client, "".join(traceback.format_exception(c.wrong)))) from None

    def quiet(self):
        """Nobody asks for anything."""
        self.gate.clear()

        def idle():
            self.check()
            return all(c.idle for c in self.clients)
        wait_until(idle, "idle clients", 4 * PATIENCE)

    # --- the judgement

    def judge(self, node):
        log = [(i, k) for i, k in node.query("SELECT id, k FROM log ORDER BY seq", params="?level=none")]
        epoch = node.one("SELECT n FROM epoch", params="?level=none")
        assert epoch == 0 or first_value(epoch) not in self.refused, "refused, but loaded: %d: %s" % (
            epoch, self.refused[first_value(epoch)])
        self.judge_epochs(log, epoch)
        counts = collections.Counter(i for i, _ in log)
        strange = [i for i in counts if i not in self.writes]
        assert not strange, "never asked for: %s" % strange[:10]
        self.judge_log(log)
        loads = [op for op in self.loads.values() if op.value not in self.refused]
        for k in REGISTERS:
            ids = [i for i, key in log if key == k]
            assert node.one("SELECT v FROM reg WHERE k = ?", k, params="?level=none") == (ids[-1] if ids else first_value(epoch)), \
                "half a transaction"
            ops = [op for key, op in self.writes.values() if key == k and op.value not in self.refused]
            ops += loads + self.exact_reads(k)
            wrong = check_register(ops)
            assert wrong is None, "%s: not linearizable: %s" % (k, wrong)
            self.judge_register_reads(k, {v: n for n, v in enumerate([first_value(epoch)] + ids)}, self.epoch_seen(epoch))
        for k in COUNTERS:
            total = epoch * EPOCH + sum(1 for _, key in log if key == k)
            assert node.one("SELECT n FROM counter WHERE k = ?", k, params="?level=none") == total, "half a transaction"
            self.judge_counter(k, epoch, total)

    def exact_reads(self, k):
        return [op for (level, key, _), seen in self.reads.items() if key == k and level in ("linearizable", "strong") for op in seen]

    def epoch_seen(self, epoch):
        """When it had certainly begun."""
        if epoch == 0:
            return 0
        seen = [self.loads[epoch].ret]
        seen += [self.writes[i][1].ret for i, n in self.made.items() if n // EPOCH == epoch]
        for (_, k, _), ops in self.reads.items():
            seen += [op.ret for op in ops if (op.value // EPOCH == epoch if k in COUNTERS else op.value == first_value(epoch))]
        return min(seen)

    def judge_epochs(self, log, epoch):
        """What a load has replaced is gone, and what came after is there."""
        since = self.epoch_seen(epoch)
        there = {i for i, _ in log}
        lost = [op for _, op in self.writes.values() if op.known and op.call > since and op.value not in there]
        assert not lost, "acknowledged, but lost (epoch %d): %s" % (epoch, lost[:10])
        if epoch:
            began = self.loads[epoch].call
            ghosts = [self.writes[i] for i in there if i in self.writes and self.writes[i][1].ret < began]
            assert not ghosts, "there, although replaced by load %d: %s" % (epoch, ghosts[:10])
        # Nobody who asks for it reads from an epoch that was over.
        ops = [(op.call, op.ret, op.value // EPOCH, op) for k in COUNTERS for op in self.exact_reads(k)]
        ends = sorted((ret, e) for _, ret, e, _ in ops)
        highest, at = [], 0
        for _, e in ends:
            at = max(at, e)
            highest.append(at)
        for call, _, e, op in ops:
            before = bisect.bisect_left(ends, (call, -1))
            assert before == 0 or highest[before - 1] <= e, "read from an epoch before %d: %r" % (highest[before - 1], op)

    def judge_log(self, log):
        counts = collections.Counter(i for i, _ in log)
        twice = [self.writes[i] for i, n in counts.items() if n > 1 and self.writes[i][0] != QUEUED]
        assert not twice, "applied more than once: %s" % twice[:10]
        refused = [(self.writes[i], self.refused[i]) for i in counts if i in self.refused]
        assert not refused, "refused, but applied: %s" % refused[:10]
        soonest = None
        for i, _ in reversed(log):
            op = self.writes[i][1]
            assert soonest is None or op.call <= soonest.ret, "%r is in the log before %r" % (op, soonest)
            if soonest is None or op.ret < soonest.ret:
                soonest = op

    def judge_counter(self, k, epoch, total):
        end = time.monotonic_ns()
        by_epoch = collections.defaultdict(list)
        unknown = []
        for i, (key, op) in self.writes.items():
            if key == k and i in self.made:
                by_epoch[self.made[i] // EPOCH].append(Op("write", self.made[i], op.call, op.ret, op.note))
            elif key == k and i not in self.refused:
                unknown.append(Op("write", None, op.call, op.ret, op.note))
        for op in self.exact_reads(k):
            by_epoch[op.value // EPOCH].append(op)
        by_epoch[epoch].append(Op("read", total, end, end, "at the end"))
        for e, ops in by_epoch.items():
            wrong = check_counter(ops + unknown, e * EPOCH)
            assert wrong is None, "%s: not linearizable: %s" % (k, wrong)
        for (level, key, incarnation), seen in self.reads.items():
            if key == k and level in ("weak", "none"):
                for op in seen:
                    assert op.value // EPOCH < epoch or op.value <= total, "%s on %s: not committed: %r" % (k, incarnation, op)
                if level == "none":
                    never_back(seen, lambda op: op.value, "%s on %s" % (k, incarnation))

    def judge_register_reads(self, k, version, since):
        """version: value -> its place in the present epoch, which has begun at since."""
        loads = {op.value: op for op in self.loads.values()}
        for (level, key, incarnation), seen in self.reads.items():
            if key != k or level not in ("weak", "none"):
                continue
            for op in seen:
                if op.value is None:
                    continue
                write = loads[op.value] if op.value in loads else self.writes[op.value][1]
                assert write.call <= op.ret, "from the future: %r" % op
                assert op.value not in self.refused, "refused, but read: %r" % op
                assert op.value in version or write.call <= since, "not committed: %r" % op
            if level == "none":
                never_back(seen, lambda op: version.get(op.value, -1), "%s on %s" % (k, incarnation))


def never_back(seen, version, what):
    newest, at = None, 0
    by_return = sorted(seen, key=lambda o: o.ret)
    for op in sorted(seen, key=lambda o: o.call):
        while by_return[at].ret < op.call:
            if newest is None or version(by_return[at]) > version(newest):
                newest = by_return[at]
            at += 1
        assert newest is None or version(op) >= version(newest), "%s went back: %r, then %r" % (what, newest, op)


# --- the story -----------------------------------------------------------------------------------


class Story:
    def __init__(self, directory, seed):
        self.rand = random.Random("soak %d" % seed)
        self.directory, self.seed = directory, seed
        self.cluster, self.load = SoakCluster(directory, self.rand), None
        self.told = []  # what was done, for those who look for the cause of a failure
        self.began = time.monotonic()
        self.longest_ready, self.high = 0, collections.Counter()
        self.ending = set()

    def tell(self, text):
        line = "%7.2f %s" % (time.monotonic() - self.began, text)
        self.told.append(line)
        if os.environ.get("SOAK_TELL"):
            print(line, flush=True)

    def run(self, seconds):
        try:
            self.cluster.start(self.cluster.n)
            self.load = SoakLoad(self.cluster, self.seed)
            rounds = 0
            while rounds == 0 or time.monotonic() - self.began < seconds:
                rounds += 1
                self.one_round()
            self.load.stop()
            self.load.check()
            print("%d rounds; %d writes acknowledged, %d refused, %d unknown; %d reads; %d loads; %s; ready after %.1f s; %s; errors %s" % (
                rounds, self.load.acked, len(self.load.refused), self.load.unknown, self.load.read_count,
                sum(op.known for op in self.load.loads.values()), dict(self.load.done), self.longest_ready,
                {k: v // MB if v > MB else v for k, v in self.high.items()}, dict(self.load.errors.most_common(16))))
        except BaseException:
            print("\n".join(self.told))
            raise
        finally:
            if self.load:
                self.load.stop()
            self.cluster.close()

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            self.check()

    def check(self):
        self.cluster.check()
        self.load.check()

    def one_round(self):
        self.tell("a round")
        self.load.may_load = True
        self.load.gate.set()
        self.pause(0.5 * self.rand.random())
        faults = [getattr(self, name) for name in dir(self) if name.startswith("fault_")]
        for _ in range(self.rand.randrange(1, 7)):
            self.rand.choice(faults)()
            self.pause(self.rand.choice([0.05, 0.5, 1.5]) * self.rand.random() * (4 if SANITIZED else 1))
            if self.rand.random() < 0.25:
                self.mend()
        self.mend()
        self.load.wait_acked(10, "after everything was mended")
        self.load.quiet()
        self.tell("quiet")
        self.verify()

    # --- faults

    def someone(self, test=lambda n: True):
        fit = [n for n in self.cluster.up() if n.expected and n not in self.ending and test(n)]
        return self.rand.choice(fit) if fit else None

    def fault_kill(self):
        for _ in range(self.rand.choice([1, 1, 1, 2, 3])):
            node = self.someone()
            if node:
                self.tell("kill -9 %s" % node.id)
                node.expected = False
                node.kill()

    def fault_stop(self):
        node = self.someone()
        if node:
            self.tell("SIGTERM to %s" % node.id)
            node.expected = False
            node.process.send_signal(signal.SIGTERM)
            self.ending.add(node)

    def fault_restart(self):
        node = self.someone(lambda n: not n.tainted)
        if node:
            self.tell("restart %s" % node.id)
            node.expected = False
            node.process.send_signal(signal.SIGTERM)
            node.check_end(node.ended())
            self.bring_up(node)

    def fault_suspend(self):
        node = self.someone()
        if node:
            self.tell("suspend %s" % node.id)
            node.pause()

    def fault_network(self):
        net, ids = self.cluster.network, [n.id for n in self.cluster.nodes]
        self.rand.shuffle(ids)
        at = self.rand.randrange(1, len(ids))
        a, b = ids[:2]
        how = self.rand.choice(["partition", "partition", "isolate", "cut", "from", "to", "hold", "refuse", "delay", "slow", "reset"])
        self.tell("network: %s %s" % (how, ids[:at] if how == "partition" else [a, b]))
        {"partition": lambda: net.partition(ids[:at], ids[at:]), "isolate": lambda: net.isolate(a), "cut": lambda: net.cut(a, b),
         "from": lambda: net.cut(a, "*"), "to": lambda: net.cut("*", a), "hold": lambda: net.hold(a, b),
         "refuse": lambda: net.refuse(a, b), "delay": lambda: net.delay(a, b, 0.05), "slow": lambda: net.slow(a, b, 100_000),
         "reset": lambda: net.reset("*", a)}[how]()

    def fault_disk(self):
        node = self.someone(lambda n: n.disk)
        if node:
            operation, part = self.rand.choice([("space", node.data), ("write", "/wal/"), ("write", "/snapshots/"),
                                                ("write", os.path.basename(node.database() or "") or "/scratch/"), ("write", node.data)])
            self.tell("full disk of %s: %s %s" % (node.id, operation, part))
            node.tainted = True
            node.fault(operation, "ENOSPC", part)

    def fault_leader(self):
        node, target = self.someone(), self.rand.choice(self.cluster.nodes)
        if node:
            self.tell("%s is asked to let %s lead" % (node.id, target.id))
            quietly(node.post, "/leader", self.rand.choice([None, {"id": target.id}]))

    def fault_remove(self):
        """A node leaves for good, and comes back with nothing."""
        self.mend()
        node = self.rand.choice(self.cluster.nodes)
        other = self.rand.choice([n for n in self.cluster.nodes if n is not node])
        self.tell("remove %s through %s" % (node.id, other.id))

        def gone():
            self.check()
            answer = quietly(other.ask, "DELETE", "/remove", {"id": node.id}, timeout=OP_TIMEOUT)
            return answer is not None and answer.status == 200
        wait_until(gone, "the removal of " + node.id, pause=0.1)
        if self.rand.random() < 0.5:
            self.pause(self.rand.random())
        node.expected = False
        self.rand.choice([node.kill, node.stop])()
        if self.rand.random() < 0.7:
            shutil.rmtree(node.data)
        node.empty = True  # or as good as that: no member
        self.bring_up(node)
        if self.rand.random() < 0.5:
            self.ready(node)

    def fault_wipe(self):
        """A node loses its disk, and joins under the ID that it had: when all others have all."""
        self.mend()
        node = self.rand.choice(self.cluster.nodes)
        self.tell("wipe %s" % node.id)
        self.load.gate.clear()  # what only this node and the leader have must not be all that there is
        self.load.quiet()
        self.wait_applied()
        node.expected = False
        node.kill()
        self.load.gate.set()
        shutil.rmtree(node.data)
        node.empty = True
        self.bring_up(node)
        self.ready(node)

    # --- and mending

    def bring_up(self, node):
        """Start it again, perhaps in another mode, perhaps after somebody has been at its file."""
        assert not node.alive()
        path = node.database()
        if path and os.path.exists(path) and self.rand.random() < 0.3:
            how = self.rand.choice(["delete", "delete with wal", "write", "cut", "open"])
            self.tell("%s: %s %s" % (node.id, how, os.path.basename(path)))
            self.meddle(path, how)
        join = node.empty or self.rand.random() < 0.5 and node is not self.cluster.nodes[0]
        if self.rand.random() < 0.5 or join:
            self.cluster.draw_mode(node, join)
        self.tell("start %s: %s" % (node.id, " ".join(node.flags[len(node.base):])))
        node.launch()

    def meddle(self, path, how):
        if how.startswith("delete"):
            os.unlink(path)
            if "wal" in how:
                for end in ("-wal", "-shm"):
                    if os.path.exists(path + end):
                        os.unlink(path + end)
        elif how == "cut":
            os.truncate(path, os.path.getsize(path) // 2)
        else:
            try:
                db = sqlite3.connect(path, isolation_level=None)
                if how == "write":
                    db.execute("CREATE TABLE meddled(n)")
                    db.execute("UPDATE reg SET v = 'meddled'")
                else:
                    db.execute("SELECT count(*) FROM log").fetchall()
                db.close()
            except sqlite3.Error as e:
                self.tell("sqlite: %s" % e)

    def mend(self):
        self.tell("mend")
        self.cluster.network.heal()
        for node in self.cluster.nodes:
            if node.disk:
                node.fault()
        for node in self.ending:
            node.check_end(node.ended())
        self.ending.clear()
        self.cluster.check()
        for node in self.cluster.nodes:
            if node.paused:
                node.go_on()
            if not node.alive():
                if node.process:
                    node.ended()
                self.bring_up(node)
        began = time.monotonic()
        for node in self.cluster.nodes:
            self.ready(node)
        self.longest_ready = max(self.longest_ready, time.monotonic() - began)
        self.tell("ready")

    def ready(self, node):
        def is_ready():
            self.check()
            if not node.alive():  # of what its disk did
                self.bring_up(node)
            if not node.ready():
                return False
            node.settled = node.starts
            if node.empty and node.id != self.cluster.replica and not node.status("store.raft").get("voter"):
                return False  # it may be all that its cluster can lose
            node.empty = False
            return True
        wait_until(is_ready, "node %s to be ready: %s" % (node.id, node.log()[-3000:]), pause=0.02)

    def wait_applied(self):
        def same():
            self.check()
            stores = [n.status() for n in self.cluster.nodes]
            at = {s.get("fsm_index") for s in stores} | {s.get("raft", {}).get("commit_index") for s in stores}
            return len(at) == 1 and None not in at
        try:
            wait_until(same, "nodes that have applied the same", pause=0.05)
        except AssertionError as e:
            raise AssertionError("%s: %s\n%s" % (e, [n.status() for n in self.cluster.nodes], self.cluster.logs())) from None

    def verify(self):
        self.ready_after_disks()
        self.cluster.wait_same()
        for node in self.cluster.nodes:
            found = node.query("PRAGMA integrity_check", params="?level=none")
            assert found == [["ok"]], "node %s: %s" % (node.id, found[:5])
            with open(node.log_path, encoding="utf-8", errors="replace") as f:
                for line in f:
                    assert not any(word in line for word in NEVER_LOGGED), "node %s: %s" % (node.id, line)
        self.load.judge(self.rand.choice(self.cluster.nodes))
        wait_until(self.bounded, "bounded use of resources", pause=0.2)

    def ready_after_disks(self):
        for node in self.cluster.nodes:
            self.ready(node)
            node.tainted = False
        self.cluster.check()

    def bounded(self):
        """Each kind of resource is within its bound, on each node; soon, as clean-up takes a moment."""
        ok = True
        for node in self.cluster.nodes:
            with open(node.proc("status"), encoding="ascii") as f:
                threads = int(re.search(r"Threads:\s+(\d+)", f.read())[1])
            for what, now, bound in (("memory", node.rss(), MEMORY if not SANITIZED else 20 * MEMORY),
                                     ("descriptors", len(os.listdir(node.proc("fd"))), DESCRIPTORS),
                                     ("threads", threads, THREADS), ("wal", node.size("wal"), WAL),
                                     ("snapshots", node.size("snapshots"), SNAPSHOTS), ("scratch", node.size("scratch"), MB)):
                self.high[what] = max(self.high[what], now)
                if now > bound:
                    self.tell("node %s: %s: %d" % (node.id, what, now))
                    ok = False
        return ok


def quietly(f, *args, **more):
    try:
        return f(*args, **{"timeout": 5, **more})
    except (OSError, http.client.HTTPException):
        return None


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time()))
    p.add_argument("--seeds", type=int, default=1, help="how many, from that one on")
    p.add_argument("--seconds", type=float, default=60, help="for each")
    p.add_argument("--keep", action="store_true", help="the directory of a seed that fails")
    args = p.parse_args()
    for seed in range(args.seed, args.seed + args.seeds):
        directory = tempfile.mkdtemp(prefix="rqlite-soak-")
        print("SEED=%d" % seed, flush=True)
        try:
            Story(directory, seed).run(args.seconds)
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
            if args.keep:
                print("kept: " + directory)
            else:
                shutil.rmtree(directory, ignore_errors=True)
            print("SEED=%d failed" % seed, flush=True)
            sys.exit(1)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
