"""The C client as its users have it: installed, a program built with pkg-config, real nodes."""
import json
import os
import re
import shutil
import subprocess

import pytest

from certificates import Authority
from conftest import PATIENCE, ROOT, SANITIZED, VARIANT, shared_data, wait_until

SANITIZE = {"asan": "-fsanitize=address,undefined", "tsan": "-fsanitize=thread"}.get(VARIANT, "")
TOP = ["USA|523.06", "Canada|303.96", "France|195.1", "Brazil|190.1", "Germany|156.48"]


def check(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, timeout=600, **more)
    assert done.returncode == 0, done.stdout.decode()[-4000:]
    return done.stdout.decode()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The library installed, and a copy of the example beside it."""
    root = tmp_path_factory.mktemp("installed")
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    check("make", "-C", ROOT, "--no-print-directory", "install-client", "DESTDIR=%s" % root, "PREFIX=/usr",
          "VARIANT=" + VARIANT, env=env)
    shutil.copytree(os.path.join(ROOT, "clients", "c", "example"), root / "example")
    return root


def build(tree, *args):
    env = dict(os.environ, PKG_CONFIG_PATH="%s/usr/lib/pkgconfig" % tree, PKG_CONFIG_SYSROOT_DIR=str(tree))
    check("make", "-C", str(tree / "example"), "-B", "CFLAGS=-Werror " + SANITIZE, *args, env=env)
    program = str(tree / "example" / "chinook")
    if args:
        kept = program + "-static"
        os.rename(program, kept)
        return kept
    return program


@pytest.fixture(scope="module")
def programs(tree):
    return {"static": build(tree, "STATIC=1"), "shared": build(tree)}


@pytest.fixture(params=["shared", "static"])
def chinook(request, tree, programs):
    """A function that runs the example on some nodes."""
    return Chinook(programs[request.param], tree)


@pytest.fixture
def shared_chinook(tree, programs):
    return Chinook(programs["shared"], tree)


class Chinook:
    def __init__(self, program, tree):
        self.program = program
        self.env = dict(os.environ, LD_LIBRARY_PATH="%s/usr/lib" % tree)

    def start(self, nodes, *args, **more):
        where = ",".join("127.0.0.1:%d" % n.raft for n in nodes)
        return subprocess.Popen([self.program, where, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=dict(self.env, **more))

    def __call__(self, nodes, *args, status=0, **more):
        p = self.start(nodes, *args, **more)
        out = p.communicate(timeout=PATIENCE * 3)[0]
        assert p.returncode == status, out
        return out.splitlines()


def test_only_the_api_is_visible(tree):
    exported = check("nm", "-D", "--defined-only", "%s/usr/lib/librqlite.so.0" % tree)
    names = {line.split()[-1].split("@")[0] for line in exported.splitlines()} - {"RQLITE_0"}
    with open(tree / "usr/include/rqlite.h", encoding="utf-8") as f:
        header = f.read()
    declared = set(re.findall(r"\b(rqlite_[a-z_]+)\(", header.split("#ifndef RQLITE_H")[1]))
    inline = set(re.findall(r"static inline struct rqlite_value (rqlite_[a-z]+)\(", header))
    assert {n for n in names if n.startswith("rqlite_")} == declared - inline
    if not SANITIZED:
        assert names == declared - inline
        kept = check("nm", "-g", "--defined-only", "%s/usr/lib/librqlite.a" % tree)
        assert {line.split()[2] for line in kept.splitlines() if len(line.split()) == 3} == names
    for word in ("protobuf-c/", "event2/", "evbuffer", "Protobuf"):
        assert word not in header


def test_the_header_is_fit_for_c_and_cpp_alone(tree, tmp_path):
    source = tmp_path / "t.c"
    source.write_text("#include <rqlite.h>\nint main(void) { return rqlite_null().type + (int)rqlite_text(\"\").len; }\n")
    include = "-I%s/usr/include" % tree
    check("cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", include, "-c", str(source), "-o", "/dev/null")
    if shutil.which("c++"):
        check("c++", "-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", include, "-c", str(source), "-o",
              "/dev/null")


def test_chinook_on_one_node(node, chinook):
    node.start()
    nodes = [node]
    chinook(nodes, "load", shared_data("chinook.sql"))
    assert chinook(nodes, "top")[1:] == TOP
    assert chinook(nodes, "query", "SELECT Name FROM Artist WHERE ArtistId = CAST(? AS INT)", "90") == ["Name",
                                                                                                     "Iron Maiden"]
    assert chinook(nodes, "query", "SELECT count(*) FROM Customer WHERE LastName = ?", "Köhler") == ["count(*)", "1"]
    assert len(chinook(nodes, "query", "SELECT a.Name, b.* FROM Track a, Track b WHERE b.TrackId < 11")) == 35031
    assert chinook(nodes, "stock", "500") == ["500 stocked, 0 failed"]
    assert chinook(nodes, "query", "SELECT count(*) FROM Track WHERE Name = 'Silence'") == ["count(*)", "500"]
    sold = chinook(nodes, "sell", "20")
    assert sold == ["%d sold %d" % (i, 412 + i) for i in range(1, 21)]
    assert chinook(nodes, "query", "SELECT * FROM nowhere", status=1) == ["chinook: no such table: nowhere"]
    assert "attempt to change database" in chinook(nodes, "query", "DELETE FROM Track", status=1)[0]


def test_types_come_back_as_they_are(node, shared_chinook):
    node.start()
    out = shared_chinook([node], "query", "SELECT 9223372036854775807, -0.5, NULL, x'00ff', '', 'é', typeof(?)", "x")
    assert out[1] == "9223372036854775807|-0.5|NULL|<2 bytes>||é|text"


def test_users_and_passwords(node, shared_chinook, directory):
    auth = os.path.join(directory, "auth.json")
    with open(auth, "w", encoding="ascii") as f:
        f.write('[{"username": "bob", "password": "secret", "perms": ["query"]},'
                ' {"username": "*", "perms": ["status", "ready"]}]')
    try:
        node.start("-auth", auth)
    except AssertionError as e:
        if "-auth is not available yet" in str(e):
            pytest.skip("no -auth yet")
        raise
    bob = {"RQLITE_USER": "bob", "RQLITE_PASSWORD": "secret"}
    assert shared_chinook([node], "query", "SELECT 1", **bob) == ["1", "1"]
    assert shared_chinook([node], "query", "SELECT 1", status=1)[0].startswith("chinook: unauthorized")
    assert "unauthorized" in shared_chinook([node], "sell", "1", **bob)[0]


def test_a_follower_leads_to_the_leader(cluster, chinook):
    cluster.start(3)
    chinook([cluster.follower()], "load", shared_data("chinook.sql"))
    assert chinook([cluster.follower()], "top")[1:] == TOP
    assert chinook(cluster.nodes, "stock", "200") == ["200 stocked, 0 failed"]


def rest_of(process):
    """The lines that readline() has left.  Not by communicate(), which passes over what readline() has read ahead."""
    lines = process.stdout.read().splitlines()
    process.wait(PATIENCE * 3)
    return lines


def test_the_leader_is_killed_under_writes(cluster, shared_chinook):
    total = 600
    cluster.start(3)
    shared_chinook(cluster.nodes, "load", shared_data("chinook.sql"))
    selling = shared_chinook.start(cluster.nodes, "sell", str(total))
    lines = [selling.stdout.readline() for _ in range(total // 3)]
    cluster.leader().kill()
    lines += rest_of(selling)
    assert selling.returncode == 0
    said = {int(line.split()[0]): line.split()[1] for line in lines}
    assert sorted(said) == list(range(1, total + 1))
    # The one write that was under way may be in doubt; after it the new leader was found.
    assert [i for i in said if said[i] == "failed"] == []
    assert sum(v == "unknown" for v in said.values()) <= 2
    assert said[total] == "sold"
    rows = cluster.wait_same("SELECT BillingCity FROM Invoice WHERE BillingCity LIKE 'sale %'")
    stored = [int(r[0].split()[1]) for r in rows]
    assert len(stored) == len(set(stored)), "a write was applied twice"
    assert {i for i in said if said[i] == "sold"} <= set(stored)


def test_the_leader_is_killed_under_an_event_loop(cluster, shared_chinook):
    cluster.start(3)
    shared_chinook(cluster.nodes, "load", shared_data("chinook.sql"))
    stocking = shared_chinook.start(cluster.nodes, "stock", "20000")
    leader = cluster.leader()

    def some():
        return leader.one("SELECT count(*) FROM Track WHERE Name = 'Silence'", params="?level=none") > 500

    wait_until(some, "writes to be under way")
    leader.kill()
    last = stocking.communicate(timeout=PATIENCE * 3)[0].splitlines()[-1]
    stocked, failed = map(int, re.fullmatch(r"(\d+) stocked, (\d+) failed", last).groups())
    assert stocked + failed == 20000 and failed <= 32, last
    (count,), = cluster.wait_same("SELECT count(*) FROM Track WHERE Name = 'Silence'")
    assert stocked <= count <= stocked + failed


def test_a_leader_that_stops_in_order_costs_no_write(cluster, shared_chinook):
    cluster.start(3)
    shared_chinook(cluster.nodes, "load", shared_data("chinook.sql"))
    selling = shared_chinook.start(cluster.nodes, "sell", "400")
    lines = [selling.stdout.readline() for _ in range(100)]
    cluster.leader().stop()
    lines += rest_of(selling)
    assert [line for line in lines if line.split()[1] == "failed"] == []
    assert sum(line.split()[1] == "unknown" for line in lines) <= 1
    assert len(lines) == 400


# --- TLS ----------------------------------------------------------------------------------------------


def encrypted(ca, name="node", *more):
    pair = ca.issue(name)
    return ["-node-cert", pair.cert, "-node-key", pair.key, "-node-ca-cert", ca.cert, "-node-verify-client", *more]


def client_of(ca, name="client"):
    pair = ca.issue(name)
    return {"RQLITE_CA": ca.cert, "RQLITE_CERT": pair.cert, "RQLITE_KEY": pair.key}


def test_a_cluster_with_mutual_tls(cluster, directory, chinook):
    ca = Authority(directory)
    cluster.start(3, *encrypted(ca))
    followers = [n for n in cluster.nodes if n is not cluster.leader()]
    client = client_of(ca)
    chinook(followers, "load", shared_data("chinook.sql"), **client)
    assert chinook(followers, "top", **client)[1:] == TOP
    process = chinook.start(cluster.nodes, "sell", "300", **client)
    for _ in range(50):
        process.stdout.readline()
    cluster.leader().stop()  # in order: another takes over
    lines = rest_of(process)
    assert all(" sold " in line for line in lines), lines
    assert chinook(cluster.alive(), "stock", "50", **client) == ["50 stocked, 0 failed"]


def test_who_is_not_trusted_is_told_why(node, directory, shared_chinook):
    ca, other = Authority(directory), Authority(directory, "other")
    node.start(*encrypted(ca))
    mine, theirs = client_of(ca), client_of(other, "stranger")

    expected = [
        ({}, "this node's Raft port is encrypted, and the connection is not"),
        ({"RQLITE_CA": ca.cert}, "our certificate was refused by the other side"),
        ({**theirs, "RQLITE_CA": ca.cert}, "our certificate was refused by the other side"),
        ({**mine, "RQLITE_CA": other.cert}, "bad certificate: self-signed certificate in certificate chain"),
        ({**mine, "RQLITE_SERVER_NAME": "db.example"}, "bad certificate: it is not valid for db.example"),
        ({**mine, "RQLITE_CA": "/nowhere"}, "CA /nowhere: No such file or directory")]
    # Each of them tries until its time is up.
    tried = [shared_chinook.start([node], "query", "SELECT 1", **env) for env, _ in expected]
    for process, (_, words) in zip(tried, expected):
        out = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 1 and words in out, out
    assert shared_chinook([node], "query", "SELECT 1 AS x", **mine) == ["x", "1"]
    assert shared_chinook([node], "query", "SELECT 1 AS x", **mine, RQLITE_SERVER_NAME="localhost") == ["x", "1"]
    assert shared_chinook([node], "query", "SELECT 1 AS x", **mine, RQLITE_NO_VERIFY="1") == ["x", "1"]


def test_tls_to_a_node_in_clear_text(node, directory, shared_chinook):
    node.start()
    lines = shared_chinook([node], "query", "SELECT 1", status=1, **client_of(Authority(directory)))
    assert "the other side does not speak TLS" in "\n".join(lines)


# --- users --------------------------------------------------------------------------------------------


def test_the_raft_port_asks_who_calls(node, directory, shared_chinook):
    users = os.path.join(directory, "users.json")
    with open(users, "w", encoding="utf-8") as f:
        json.dump([{"username": "*", "perms": ["ready"]}, {"username": "q", "password": "q", "perms": ["query"]},
                   {"username": "all", "perms": ["all"],
                    "password": "$2b$04$T6dYb0/u4KDETiwrs3fVmODIFh72wFWcxV1DNlI3KWZMuL160cDCW"}], f)
    node.start("-auth", users)
    chinook = shared_chinook
    for who in ({}, {"RQLITE_USER": "q", "RQLITE_PASSWORD": "q"}, {"RQLITE_USER": "all", "RQLITE_PASSWORD": "x"}):
        assert "unauthorized" in "\n".join(chinook([node], "load", shared_data("chinook.sql"), status=1, **who))
    assert "unauthorized" in "\n".join(chinook([node], "query", "SELECT 1", status=1))
    everything = {"RQLITE_USER": "all", "RQLITE_PASSWORD": "secret"}
    chinook([node], "load", shared_data("chinook.sql"), **everything)
    assert chinook([node], "top", **everything)[1:] == TOP
    assert chinook([node], "query", "SELECT 1 AS x", RQLITE_USER="q", RQLITE_PASSWORD="q") == ["x", "1"]
