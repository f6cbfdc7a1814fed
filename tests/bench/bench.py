#!/usr/bin/env python3
"""Measure the machine's limits and one node in the same run, and print the share.

    make bench                       everything: one node in both modes, then three nodes; about three minutes
    make bench ARGS="--only insert"  workloads whose name holds the word
    make bench ARGS="--seconds 10 --mode memory"
    make bench ARGS="--mode big"     a database of 500 MB (--megabytes 2000) beside copying its file, see big.py

Nothing is asserted: machines are noisy, so look at the ratios.  Only the standard library is used; the load comes from
build/bin/rqbench, which shares the processors with the node.
"""
import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import big

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, "build", "bin")
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    def __init__(self, base, flags, number=1):
        self.id = str(number)
        self.data = os.path.join(base, "data" + self.id)
        self.http, self.raft = free_port(), free_port()
        self.flags = flags
        self.log = open(os.path.join(base, "log" + self.id), "ab")
        self.proc = None

    def start(self):
        begun = time.monotonic()
        self.proc = subprocess.Popen(
            [os.path.join(BIN, "rqlited"), "-node-id", self.id, "-http-addr", "127.0.0.1:%d" % self.http,
             "-raft-addr", "127.0.0.1:%d" % self.raft] + self.flags + [self.data],
            stdout=self.log, stderr=self.log)
        while True:
            try:
                if self.get("/readyz")[0] == 200:
                    return time.monotonic() - begun
            except OSError:
                pass
            if self.proc.poll() is not None:
                sys.exit("rqlited ended with status %d, see %s" % (self.proc.returncode, self.log.name))
            time.sleep(0.002)

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        self.proc.wait(60)

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=60)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body

    def post(self, path, body):
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=600)
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        out = r.read()
        c.close()
        if r.status != 200 or b'"error"' in out:
            sys.exit("%s: %d %s" % (path, r.status, out[:300]))
        return json.loads(out)

    def cpu(self):
        f = open("/proc/%d/stat" % self.proc.pid).read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / TICK

    def rss_mb(self):
        m = re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % self.proc.pid).read())
        return int(m.group(1)) / 1024

    def written(self):
        return int(re.search(r"^write_bytes: (\d+)", open("/proc/%d/io" % self.proc.pid).read(), re.M).group(1))


def rewrite_sync_rate(base, seconds):
    """4 KiB rewritten in a file that has its blocks, with fdatasync: what bounds a lone writer."""
    path = os.path.join(base, "limit")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    block = os.urandom(4096)
    for i in range(1024):
        os.pwrite(fd, block, i * 4096)
    os.fsync(fd)
    n, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        os.pwrite(fd, block, n % 1024 * 4096)
        os.fdatasync(fd)
        n += 1
    rate = n / (time.monotonic() - begun)
    os.close(fd)
    os.unlink(path)
    return rate


def sqlite_rate():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)")
    n, begun = 0, time.monotonic()
    while time.monotonic() - begun < 0.5:
        db.executemany("INSERT INTO t(name) VALUES(?)", (("name",) for _ in range(10000)))
        n += 10000
    return n / (time.monotonic() - begun)


def load(node, path, conns, seconds, statement, batch=1, queued=False):
    """requests/s, processor microseconds of the node per request, bytes written per request"""
    cpu, written = node.cpu(), node.written()
    cmd = [os.path.join(BIN, "rqbench"), "-a", "127.0.0.1:%d" % node.http, "-p", path, "-c", str(conns),
           "-d", "%gs" % seconds, "-b", str(batch)]
    if queued:
        cmd.append("-q")
    out = subprocess.run(cmd + [statement], capture_output=True, text=True)
    m = re.search(r"Requests/sec: ([\d.]+)", out.stdout)
    if out.returncode != 0 or not m:
        sys.exit("rqbench failed: %s%s" % (out.stdout, out.stderr))
    rate = float(m.group(1))
    n = rate * seconds
    return rate, (node.cpu() - cpu) * 1e6 / n, (node.written() - written) / n


class Report:
    def __init__(self):
        self.rows = []

    def add(self, name, value, target, note=""):
        self.rows.append((name, value, target, note))
        print("  %-46s %-24s target %-22s %s" % (name, value, target, note), flush=True)


def run(base, mode, opts, report, sync_rate):
    flags = ["-on-disk"] if mode == "disk" else []
    want = lambda name: not opts.only or opts.only in name
    node = Node(base, flags)
    print("%s mode" % ("on-disk" if mode == "disk" else "in-memory"))
    ready = node.start()
    report.add("start of an empty node to ready", "%.3f s" % ready, "<= 0.1 s")
    time.sleep(0.3)
    report.add("resident memory idle", "%.1f MB" % node.rss_mb(), "<= 10 MB")
    node.post("/db/execute", ["CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)",
                              "CREATE TABLE wide(id INTEGER PRIMARY KEY, a INTEGER, b REAL, c TEXT, d TEXT)",
                              "CREATE TABLE points(id INTEGER PRIMARY KEY, name TEXT)"])
    node.post("/db/execute?transaction",
              [["INSERT INTO wide(a,b,c,d) VALUES(?,?,?,?)", i, i + 0.5, "text %d" % i, "more text %d" % i]
               for i in range(1000)])
    node.post("/db/execute?transaction",
              [["INSERT INTO points(name) VALUES(?)", "name %d" % i] for i in range(1000)])
    s = opts.seconds
    insert = "INSERT INTO t(name) VALUES('fiona')"
    if want("insert 1"):
        rate, cpu, _ = load(node, "/db/execute", 1, s, insert)
        report.add("INSERT, 1 connection", "%.0f/s" % rate, ">= 0.6 x sync rate",
                   "%.2f x, %.0f us CPU each" % (rate / sync_rate, cpu))
    if want("insert 64"):
        rate, cpu, written = load(node, "/db/execute", 64, s, insert)
        report.add("INSERT, 64 connections", "%.0f/s" % rate, ">= 30,000/s, 30 us", "%.0f us CPU each" % cpu)
        report.add("bytes written per INSERT at 64 connections", "%.2f KiB" % (written / 1024), "<= 0.6 KiB")
    if want("rows"):
        rate, cpu, _ = load(node, "/db/execute?transaction", 8, s,
                            '["INSERT INTO t(name) VALUES(?)","fiona"]', batch=100)
        report.add("100 parametrised rows per request, 8 conn.", "%.0f rows/s" % (rate * 100), ">= 400,000 rows/s",
                   "%.2f us CPU per row" % (cpu / 100))
    if want("queued"):
        rate, cpu, _ = load(node, "/db/execute", 64, s, insert, queued=True)
        report.add("queued writes, 64 connections", "%.0f/s" % rate, ">= 45,000/s", "%.0f us CPU each" % cpu)
    if want("point"):
        point = '["SELECT name FROM points WHERE id=?",500]'
        rate, cpu, _ = load(node, "/db/query?level=none", 64, s, point)
        report.add("point SELECT none, 64 connections", "%.0f/s" % rate, ">= 45,000/s, 20 us", "%.0f us CPU each" % cpu)
    if want("strong"):
        rate, cpu, _ = load(node, "/db/query?level=strong", 8, s, "SELECT name FROM points WHERE id=500")
        report.add("strong SELECT, 8 connections", "%.0f/s" % rate, ">= 12,000/s", "%.0f us CPU each" % cpu)
    if want("scan"):
        rate, cpu, _ = load(node, "/db/query?level=none", 1, s, "SELECT * FROM wide")
        report.add("SELECT 1,000 rows x 5 columns, 1 connection", "%.0f/s" % rate, ">= 1,500/s",
                   "%.0f us CPU each" % cpu)
    if want("million"):
        count = 0
        while count < 1000000:
            node.post("/db/execute?transaction", [["INSERT INTO t(name) VALUES(?)", "fiona"]] * 20000)
            count += 20000
        rate, cpu, _ = load(node, "/db/execute", 1, s, insert)
        report.add("INSERT, 1 connection, after 1,000,000", "%.0f/s" % rate, "the same rate",
                   "%.2f x sync rate" % (rate / sync_rate))
    report.add("resident memory after the run", "%.1f MB" % node.rss_mb(), "bounded")
    node.stop()
    if want("replay"):
        shutil.rmtree(node.data)
        node.start()
        node.post("/db/execute", ["CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)"])
        subprocess.run([os.path.join(BIN, "rqbench"), "-a", "127.0.0.1:%d" % node.http, "-n", "100000", "-c", "64",
                        insert], stdout=subprocess.DEVNULL, check=True)
        node.stop(signal.SIGKILL)
        took = node.start()
        rows = json.loads(node.get("/db/query?q=SELECT%20count(*)%20FROM%20t")[1])["results"][0]["values"][0][0]
        report.add("start with 100,000 entries to replay", "%.2f s" % took, "<= 0.5 s", "%d rows" % rows)
        node.stop()
    shutil.rmtree(node.data)


class Cluster:
    def __init__(self, base, flags=()):
        self.nodes = []
        for i in (1, 2, 3):
            join = ["-join", "127.0.0.1:%d" % self.nodes[0].raft] if self.nodes else []
            node = Node(base, [*flags, *join], i)
            node.start()
            self.nodes.append(node)
        until = time.monotonic() + 30
        while len([n for n in json.loads(self.nodes[0].get("/nodes")[1]).values() if n["reachable"]]) < 3:
            if time.monotonic() > until:
                sys.exit("three nodes did not find each other")
            time.sleep(0.05)

    def leader(self, among=None):
        """(leader, the others), as some node of among sees it; None if there is none"""
        for n in among or self.nodes:
            try:
                status, body = n.get("/leader")
            except OSError:
                continue
            if status == 200:
                who = json.loads(body)["id"]
                return (next(x for x in self.nodes if x.id == who), [x for x in self.nodes if x.id != who])
        return None


def gap(cluster, end_leader):
    """Longest time between two acknowledged writes while end_leader(leader) happens; seconds."""
    leader, others = cluster.leader()
    last, longest, done, ended = time.monotonic(), 0.0, 0, None
    until = time.monotonic() + 15
    while time.monotonic() < until:
        if ended is None and done >= 50:
            end_leader(leader)
            ended = time.monotonic()
        try:
            c = http.client.HTTPConnection("127.0.0.1", others[done % 2].http, timeout=2)
            c.request("POST", "/db/execute?timeout=1s", '["INSERT INTO t(name) VALUES(1)"]')
            r = c.getresponse()
            ok = r.status == 200 and b'"error"' not in r.read()
            c.close()
        except (OSError, http.client.HTTPException):
            ok = False
        now = time.monotonic()
        if ok:
            longest = max(longest, now - last)
            last = now
            done += 1
        if ended and ok and now - ended > 3:
            break
    return longest


def run_cluster(base, opts, report, sync_rate):
    want = lambda name: not opts.only or opts.only in name
    print("three nodes, default timings, one disk")
    cluster = Cluster(base)
    leader, others = cluster.leader()
    report.add("resident memory of three nodes, idle", "%.0f MB" % sum(n.rss_mb() for n in cluster.nodes), "<= 36 MB")
    leader.post("/db/execute", ["CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)",
                                "CREATE TABLE points(id INTEGER PRIMARY KEY, name TEXT)"])
    leader.post("/db/execute?transaction",
                [["INSERT INTO points(name) VALUES(?)", "name %d" % i] for i in range(1000)])
    s = opts.seconds
    insert = "INSERT INTO t(name) VALUES('fiona')"
    point = "SELECT name FROM points WHERE id=500"
    if want("insert"):
        for conns, target in ((1, "1,500"), (8, "5,000"), (64, "18,000")):
            rate, cpu, _ = load(leader, "/db/execute", conns, s, insert)
            report.add("INSERT through the leader, %d conn." % conns, "%.0f/s" % rate, ">= %s/s" % target,
                       "%.2f x sync rate, %.0f us CPU each" % (rate / sync_rate, cpu))
        for conns, target in ((1, "1,300"), (64, "12,000")):
            rate, cpu, _ = load(others[0], "/db/execute", conns, s, insert)
            report.add("INSERT through a follower, %d conn." % conns, "%.0f/s" % rate, ">= %s/s" % target)
    if want("linearizable"):
        for conns, target in ((1, "12,000"), (64, "35,000")):
            rate, cpu, _ = load(leader, "/db/query?level=linearizable", conns, s, point)
            report.add("linearizable SELECT on the leader, %d conn." % conns, "%.0f/s" % rate, ">= %s/s" % target,
                       "%.0f us CPU each" % cpu)
    if want("none"):
        rate, cpu, _ = load(others[0], "/db/query?level=none", 64, s, point)
        report.add("SELECT none on a follower, 64 conn.", "%.0f/s" % rate, ">= 45,000/s")
    if want("idle"):
        time.sleep(1)
        cpu = [n.cpu() for n in cluster.nodes]
        time.sleep(5)
        used = sum(n.cpu() - c for n, c in zip(cluster.nodes, cpu)) / 5
        report.add("idle CPU of three nodes", "%.1f ms per s" % (used * 1000), "<= 4 ms per s")
        report.add("resident memory of three nodes after the load", "%.0f MB" % sum(n.rss_mb() for n in cluster.nodes),
                   "bounded")
    if want("gap"):
        took = gap(cluster, lambda n: n.stop())
        report.add("leader stopped (SIGTERM): longest gap in writes", "%.0f ms" % (took * 1000), "<= 100 ms")
        stopped = next(n for n in cluster.nodes if n.proc.poll() is not None)
        stopped.start()
        time.sleep(1)
        took = gap(cluster, lambda n: n.stop(signal.SIGKILL))
        report.add("leader killed: longest gap in writes", "%.0f ms" % (took * 1000), "<= 1,500 ms")
    for n in cluster.nodes:
        if n.proc.poll() is None:
            n.stop()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=4)
    ap.add_argument("--only", default="")
    ap.add_argument("--mode", choices=["memory", "disk", "cluster", "big", "all"], default="all",
                    help="all is the first three")
    ap.add_argument("--megabytes", type=int, default=500, help="size of the database of --mode big")
    ap.add_argument("--where", choices=["disk", "memory", "both"], default="both", help="its nodes keep it there")
    opts = ap.parse_args()
    scratch = os.path.join(ROOT, "build", "bench")
    os.makedirs(scratch, exist_ok=True)
    base = tempfile.mkdtemp(dir=scratch)
    report = Report()
    try:
        sync_rate = rewrite_sync_rate(base, 2)
        print("this machine: %.0f rewrites of 4 KiB + fdatasync per second, %.0f SQLite rows per second from Python, %d processors"
              % (sync_rate, sqlite_rate(), len(os.sched_getaffinity(0))))
        for mode in (["memory", "disk", "cluster"] if opts.mode == "all" else [opts.mode]):
            if mode == "big":
                big.run_big(sys.modules[__name__], base, opts, report)
            elif mode == "cluster":
                run_cluster(base, opts, report, sync_rate)
            else:
                run(base, mode, opts, report, sync_rate)
        print("sync rate at the end: %.0f/s" % rewrite_sync_rate(base, 2))
    finally:
        shutil.rmtree(base, ignore_errors=True)


main()
