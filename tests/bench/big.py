"""bench.py --mode big: what a large database costs, beside copying its file.

A database made of Chinook's rows (--megabytes, 500 at first) goes through load, backup, boot, join and restart, on
disk and in memory.  The yardstick is cp and fsync of the same file on the same disk, measured in the same run.
Peaks are VmHWM of a node's process, set back before each step.
"""
import http.client
import json
import os
import shutil
import signal
import statistics
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
from bigdb import make_database  # noqa: E402

PIECE = 1 << 20
COUNT = "SELECT count(*) FROM Copies"


def copy_seconds(path):
    """cp and fsync; the median of three."""
    def once():
        begun = time.monotonic()
        with open(path, "rb") as src, open(path + ".copy", "wb") as dst:
            shutil.copyfileobj(src, dst, PIECE)
            dst.flush()
            os.fsync(dst.fileno())
        took = time.monotonic() - begun
        os.unlink(path + ".copy")
        return took
    return statistics.median(once() for _ in range(3))


def read_seconds(path):
    begun = time.monotonic()
    with open(path, "rb") as f:
        while f.read(PIECE):
            pass
    return time.monotonic() - begun


def forget_peak(nodes):
    for n in nodes:
        with open("/proc/%d/clear_refs" % n.proc.pid, "w", encoding="ascii") as f:
            f.write("5")


def peak_mb(node):
    with open("/proc/%d/status" % node.proc.pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")) / 1024


def peaks(nodes):
    return "peak " + "/".join("%.0f" % peak_mb(n) for n in nodes) + " MB"


def send(node, path, file):
    """POST a file; seconds until it is answered."""
    begun = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=600, blocksize=PIECE)
    with open(file, "rb") as body:
        c.request("POST", path, body, {"Content-Type": "application/octet-stream",
                                       "Content-Length": str(os.path.getsize(file))})
        r = c.getresponse()
        out = r.read()
    c.close()
    if r.status != 200 or b'"error"' in out:
        raise SystemExit("%s: %d %s" % (path, r.status, out[:300]))
    return time.monotonic() - begun


def fetch(node, path, size):
    """GET and throw away; seconds, and those to the first byte."""
    begun, got, first = time.monotonic(), 0, None
    buf = memoryview(bytearray(PIECE))
    c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=600)
    c.request("GET", path)
    r = c.getresponse()
    while True:
        n = r.readinto(buf)
        if not n:
            break
        first = first or time.monotonic() - begun
        got += n
    c.close()
    if r.status != 200 or got < size * 0.9:
        raise SystemExit("%s: %d, %d bytes" % (path, r.status, got))
    return time.monotonic() - begun, first


def count(node):
    status, body = node.get("/db/query?level=none&q=" + COUNT.replace(" ", "%20"))
    try:
        return json.loads(body)["results"][0]["values"][0][0] if status == 200 else None
    except (KeyError, ValueError):
        return None


def wait_rows(nodes, rows):
    begun = time.monotonic()
    for n in nodes:
        while count(n) != rows:
            if time.monotonic() - begun > 300:
                raise SystemExit("node %s does not get the rows" % n.id)
            time.sleep(0.01)
    return time.monotonic() - begun


def longest_write(node, during):
    """The slowest of the writes that go on while during() runs; its own time, too."""
    over, slowest = threading.Event(), [0.0]

    def write():
        c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=60)
        while not over.is_set():
            begun = time.monotonic()
            c.request("POST", "/db/execute", '["INSERT INTO small(v) VALUES(1)"]')
            c.getresponse().read()
            slowest[0] = max(slowest[0], time.monotonic() - begun)
        c.close()

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.2)
    slowest[0] = 0.0
    begun = time.monotonic()
    during()
    took = time.monotonic() - begun
    over.set()
    writer.join()
    return slowest[0], took


def snapshot(node):
    c = http.client.HTTPConnection("127.0.0.1", node.http, timeout=600)
    c.request("POST", "/snapshot")
    c.getresponse().read()
    c.close()


def three_nodes(bench, base, file, rows, copy, mode, report, want):
    size, flags = os.path.getsize(file), ["-on-disk"] if mode == "disk" else []
    limit = "peak <= 60 MB" if mode == "disk" else ""
    cluster = bench.Cluster(base, flags)
    nodes = cluster.nodes
    leader, others = cluster.leader()

    def add(name, took, share, note=""):
        report.add("%s, %s" % (name, mode), "%.2f s = %.1f x cp" % (took, took / copy),
                   "<= %g x cp %s" % (share, limit), note)

    forget_peak(nodes)
    took = send(leader, "/db/load", file)
    report_peak = peaks(nodes)
    late = wait_rows(nodes, rows)
    add("load through three nodes", took, 4, "%s; followers %.2f s later" % (report_peak, late))
    if want("load follower"):
        forget_peak(nodes)
        took = send(others[0], "/db/load", file)
        wait_rows(nodes, rows)
        add("load through a follower", took, 4, peaks(nodes))
    for name, node in (("leader", leader), ("follower", others[0])):
        if want("backup"):
            forget_peak(nodes)
            took, first = fetch(node, "/db/backup", size)
            add("backup from the %s" % name, took, 1.5, "%s; first byte after %.2f s" % (peaks(nodes), first))
    if want("snapshot"):
        leader.post("/db/execute", ["CREATE TABLE small(id INTEGER PRIMARY KEY, v)"])
        snapshot(leader)
        for _ in range(10):
            leader.post("/db/execute", ["INSERT INTO small(v) VALUES(1)"] * 100)
        forget_peak(nodes)
        slowest, took = longest_write(leader, lambda: snapshot(leader))
        report.add("snapshot after 1,000 small writes, %s" % mode, "%.3f s" % took, "pause of a delta",
                   "slowest write beside it %.1f ms; %s" % (slowest * 1000, peaks(nodes)))
    if want("join"):
        new = bench.Node(base, flags + ["-join", "127.0.0.1:%d" % leader.raft], 4)
        forget_peak(nodes)
        begun = time.monotonic()
        new.start()
        wait_rows([new], rows)
        add("join of a new node, until all rows are there", time.monotonic() - begun, 2, peaks(nodes + [new]))
        nodes.append(new)
    for n in nodes:
        n.stop()
        shutil.rmtree(n.data)


def one_node(bench, base, file, rows, copy, mode, report):
    disk = mode == "disk"
    limit = "peak <= 60 MB" if disk else ""
    reading = read_seconds(file)
    node = bench.Node(base, ["-on-disk"] if disk else [])
    node.start()
    forget_peak([node])
    took = send(node, "/boot", file)
    report.add("boot, " + mode, "%.2f s = %.1f x cp" % (took, took / copy), "<= 2 x cp " + limit, peaks([node]))
    wait_rows([node], rows)
    for name, sig, target in (("SIGTERM", signal.SIGTERM, 0.2), ("kill -9", signal.SIGKILL, 0.3)):
        node.stop(sig)
        took = node.start()
        wait_rows([node], rows)
        goal = "<= %g s %s" % (target, limit) if disk else "<= 1.5 x read = %.2f s" % (1.5 * reading)
        report.add("restart after %s, %s" % (name, mode), "%.2f s" % took, goal, peaks([node]))
    node.stop()
    shutil.rmtree(node.data)


def run_big(bench, base, opts, report):
    file = os.path.join(base, "big.sqlite")
    rows = make_database(file, opts.megabytes)
    copy = copy_seconds(file)
    print("a database of %.0f MB, %d rows; cp and fsync take %.2f s, reading %.2f s" % (
        os.path.getsize(file) / 1e6, rows, copy, read_seconds(file)))
    for mode in ("disk", "memory"):
        if opts.where in (mode, "both"):
            want = lambda name: not opts.only or opts.only in name
            if want("load") or want("backup") or want("join") or want("snapshot") or want("load follower"):
                three_nodes(bench, base, file, rows, copy, mode, report, want)
            if want("boot") or want("restart"):
                one_node(bench, base, file, rows, copy, mode, report)
    print("cp and fsync at the end: %.2f s" % copy_seconds(file))
    os.unlink(file)
