"""Bad input at the port where nodes talk: that connection is closed and a line says why; nothing else
happens.  The node goes on serving, its term stays, and memory and sockets come back.

SEED=n repeats a run's random bytes.
"""
import os
import random
import re
import socket
import ssl
import struct

import pytest

from chaos import SEED, TIMING, Cluster
from conftest import PATIENCE, SANITIZED, wait_until
from proxy import HEADER, PREFACE

HELLO, CALL, MESSAGE, END, CANCEL, WINDOW, PING, PONG, GOAWAY = range(1, 10)
MORE, LAST, MESSAGE_HERE = 1, 2, 4
RAFT, CALLS, BULK = 1, 2, 3


def frame(kind, body=b"", flags=0, stream=0, service=0, method=0, length=None, crc=0):
    return struct.pack("<IBBBBII", len(body) if length is None else length, kind, flags, service, method, stream, crc) + body


def text(s):
    return struct.pack("<H", len(s)) + s


def hello(cluster_id=0, kind=CALLS, low=1, high=1, name=b"stranger", address=b"127.0.0.1:1", software=b"test"):
    return frame(HELLO, struct.pack("<HHBBQI", low, high, kind, 0, cluster_id, 1 << 19) + text(name) + text(address)
                 + text(software))


def call(service, method, message=b"", flags=MESSAGE_HERE | LAST, stream=1, meta=bytes(29)):
    return frame(CALL, text(meta) + message, flags, stream, service, method)


def client_hello():
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    try:
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # A suspended machine under the tests must not look like an election that a peer provoked.
    c = Cluster(str(tmp_path_factory.mktemp("raft-port")))
    c.flags = [f if f not in TIMING[1::2] else "3s" for f in c.flags]
    c.network.capture()
    try:
        c.start(3)
        c.nodes[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, n)")
        c.expected = 0
        yield c
    finally:
        c.close()


@pytest.fixture
def node(cluster):
    """The leader; afterwards everything is as it was."""
    leader = cluster.wait_leader()
    term = leader.status("store.raft")["term"]
    files = open_files(leader)
    yield leader
    for n in cluster.nodes:
        assert n.alive(), n.log()[-2000:]
        raft = n.status("store.raft")
        assert raft["term"] == term, n.log()[-2000:]
        assert (raft["state"] == "Leader") == (n is leader)
        n.execute("INSERT INTO t(n) VALUES(1)")
        cluster.expected += 1
        assert n.one("SELECT count(*) FROM t", params="?level=linearizable") == cluster.expected
    wait_until(lambda: open_files(leader) <= files + 2, "sockets to be closed")
    cluster.wait_same()


def open_files(node):
    return len(os.listdir("/proc/%d/fd" % node.process.pid))


class Peer:
    """A connection straight to a node's Raft port."""

    def __init__(self, node, data=b""):
        self.s = socket.create_connection(("127.0.0.1", node.raft), PATIENCE)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = "127.0.0.1:%d" % self.s.getsockname()[1]
        self.send(data)

    def send(self, data):
        try:
            self.s.sendall(data)
        except OSError:
            pass  # it was closed already

    def to_the_end(self):
        """What comes until the node closes."""
        got = b""
        try:
            while True:
                piece = self.s.recv(65536)
                if not piece:
                    return got
                got += piece
        except ConnectionResetError:
            return got
        finally:
            self.s.close()


def closed_with_a_line(node, data, line):
    def attempt():
        peer = Peer(node, data)
        peer.to_the_end()
        return next((l for l in node.log().splitlines() if peer.name in l), None)
    # Only so many lines are written in a second.
    logged = wait_until(attempt, "a line that says why", pause=0.3)
    assert re.search(line, logged), logged


BAD = {
    "http": (b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", "not our protocol, but an HTTP request"),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not our protocol, but an HTTP request"),
    "tls": (client_hello(), "not our protocol, but a TLS handshake"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "not our protocol, but an SSH greeting"),
    "the reference": (b"\x02\x00\x00\x00\x00", "perhaps a node of another implementation"),
    "zeros": (bytes(100), "no protocol known"),
    "text": (b"hello, how are you?\n", "no protocol known"),
    "line ends": (PREFACE.replace(b"\n", b"\r\n") + hello(), "no protocol known"),
    "garbage after the preface": (PREFACE + b"\xff" * 64, "."),
    "nothing but a ping": (PREFACE + frame(PING, bytes(8)), "ping frame before the hello"),
    "a call before the hello": (PREFACE + call(1, 1), "call frame before the hello"),
    "a huge hello": (PREFACE + frame(HELLO, length=1 << 20), "hello frame of 1048576 bytes before the hello"),
    "a hello over every limit": (PREFACE + frame(HELLO, length=0xffffffff), "over the limit"),
    "a short hello": (PREFACE + frame(HELLO, bytes(20)), "hello frame of 20 bytes"),
    "a hello of zeros": (PREFACE + frame(HELLO, bytes(40)), "."),
    "a hello cut within its name": (PREFACE + frame(HELLO, hello()[HEADER:][:18] + struct.pack("<H", 200) + b"abcdef"), "."),
    "a name with control characters": (PREFACE + hello(name=b"\x1b[31mred\n[rqlited] forged"), "."),
    "a version of the future": (PREFACE + hello(low=7, high=9), r"protocol versions 7 to 9 of test and 1 to 1 of .* have nothing in common"),
    "a version of nobody": (PREFACE + hello(low=2, high=1), "."),
    "no class": (PREFACE + hello(kind=0), "."),
    "an unknown class": (PREFACE + hello(kind=77), "."),
    "another cluster": (PREFACE + hello(cluster_id=0xdeadbeef), r"node stranger at 127\.0\.0\.1:1 belongs to cluster 00000000deadbeef"),
    "another cluster's raft": (PREFACE + hello(cluster_id=0xdeadbeef, kind=RAFT), "belongs to cluster 00000000deadbeef"),
    "a wrong checksum": (PREFACE + frame(HELLO, hello()[HEADER:], flags=128, crc=12345), "hello frame with a wrong checksum"),
    "a second hello": (PREFACE + hello() + hello(), "a second hello"),
    "an unknown kind": (PREFACE + hello() + frame(42, b"x"), "unknown kind of frame 42"),
    "unknown flags": (PREFACE + hello() + frame(PING, bytes(8), flags=64), "ping frame with flags 0x40"),
    "a ping on a stream": (PREFACE + hello() + frame(PING, bytes(8), stream=3), "ping frame on stream 3"),
    "a ping too long": (PREFACE + hello() + frame(PING, bytes(9)), "ping frame of 9 bytes"),
    "a frame over the limit": (PREFACE + hello() + frame(MESSAGE, length=(1 << 20) + 1, stream=1), "over the limit of 1048576"),
    "a frame over every limit": (PREFACE + hello() + frame(MESSAGE, length=0xffffffff, stream=1), "over the limit"),
    "metadata longer than the call": (PREFACE + hello() + frame(CALL, struct.pack("<H", 9999) + bytes(60), LAST, 1, 1, 1), "."),
    "stream 0": (PREFACE + hello() + call(1, 1, stream=0), "call frame on stream 0"),
    "a stream used twice": (PREFACE + hello() + call(2, 1, flags=MESSAGE_HERE | MORE) * 2, "."),
    "a wrong checksum later": (PREFACE + hello() + frame(PING, bytes(8), flags=128, crc=1), "ping frame with a wrong checksum"),
    "a goodbye that is none": (PREFACE + hello() + frame(GOAWAY, b"\xff" * 10, flags=16), "."),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_end_the_connection_with_a_line(node, name):
    closed_with_a_line(node, *BAD[name])


def test_random_bytes(node):
    """Behind every prefix that gets a little further."""
    print("SEED=%d" % SEED)
    rand = random.Random(SEED)
    prefixes = [b"", PREFACE, PREFACE + frame(HELLO, length=40), PREFACE + hello(), PREFACE + hello(kind=RAFT),
                PREFACE + hello() + frame(MESSAGE, length=1000, stream=1)]
    for n in range(300):
        data = rand.choice(prefixes) + rand.randbytes(rand.choice([1, 16, 100, 5000]))
        peer = Peer(node, data)
        peer.s.shutdown(socket.SHUT_WR)
        peer.to_the_end()


def test_the_frames_of_others_with_mistakes(cluster, node):
    """What nodes really sent, with bytes changed, left out, repeated; cut off anywhere."""
    print("SEED=%d" % SEED)
    rand = random.Random(SEED)
    # Not what a node of this cluster says of itself: that may well be believed (the Raft port is for
    # those who are trusted, see TLS).
    taken = [data.replace(text(frm.encode()), text(b"x" * len(frm)), 1)
             for frm, _, _, data in cluster.network.captured() if frm != "?"]
    for n in range(300):
        data = bytearray(rand.choice(taken)[:rand.choice([30, 200, 2000, 20000])])
        for _ in range(rand.randrange(1, 4)):
            at = rand.randrange(len(data))
            what = rand.randrange(4)
            if what == 0:
                data[at] ^= 1 << rand.randrange(8)
            elif what == 1:
                del data[at:at + rand.randrange(1, 20)]
            elif what == 2:
                data[at:at] = data[at:at + 16]
            else:
                del data[at:]
            if not data:
                data = bytearray(b"x")
        peer = Peer(node, bytes(data))
        peer.s.shutdown(socket.SHUT_WR)
        peer.to_the_end()


@pytest.mark.parametrize("data", [b"", PREFACE[:3], PREFACE, PREFACE + hello()[:10], PREFACE + hello()[:30],
                                  PREFACE + hello() + frame(PING, bytes(8))[:20],
                                  PREFACE + hello() + call(1, 1)[:30]], ids=range(7))
def test_cut_off(node, data):
    """Connections that end within something; nothing is to be said about them, and nothing stays."""
    for _ in range(20):
        peer = Peer(node, data)
        peer.s.shutdown(socket.SHUT_WR)
        peer.to_the_end()
        Peer(node, data).s.close()


def test_calls_that_nobody_serves(node):
    """An unknown service or method, a message that is none: the call fails, the connection may stay."""
    for service in range(0, 256, 5):
        for method in (0, 1, 2, 9, 255):
            if service in (1, 2, 3) and method in (1, 2):
                continue  # they exist
            peer = Peer(node, PREFACE + hello() + call(service, method, b"\xff\xff\xff"))
            peer.s.shutdown(socket.SHUT_WR)
            peer.to_the_end()


def test_frames_for_streams_that_are_not_there(node):
    peer = Peer(node, PREFACE + hello() + b"".join(
        frame(kind, body, stream=n) for n in range(1, 2000)
        for kind, body in ((MESSAGE, b"x" * 100), (END, b""), (CANCEL, b""), (WINDOW, b"\xff" * 4))))
    peer.s.shutdown(socket.SHUT_WR)
    peer.to_the_end()


def test_a_silent_connection_is_closed(node):
    """No hello: nobody holds a socket of ours for long."""
    closed_with_a_line(node, PREFACE, "no hello in time")


def test_replayed_raft_messages_change_nothing(cluster, node):
    """The very bytes that nodes sent one another, once more, as often as one likes."""
    conversations = [data for frm, to, kind, data in cluster.network.captured() if kind == "raft" and frm != "?"]
    assert len(conversations) >= 4
    peers = [Peer(n, data) for data in conversations for n in cluster.nodes for _ in range(3)]
    wait_until(lambda: len(node.get("/nodes").json) == 3, "an answer")
    for n in cluster.nodes:
        n.execute("INSERT INTO t(n) VALUES(2)")
        cluster.expected += 1
    for peer in peers:
        peer.s.close()


def test_a_replayed_call_is_not_run_again(cluster, node):
    """A write that was forwarded, its connection recorded and sent again: the row is there once."""
    cluster.network.capture()
    cluster.network.reset()
    follower = cluster.followers(node)[0]
    for _ in range(5):
        follower.execute("INSERT INTO t(n) VALUES(3)")
        cluster.expected += 1
    calls = [data for frm, to, kind, data in cluster.network.captured()
             if kind == "call" and frm == follower.id and to == node.id and b"INSERT INTO t" in data]
    assert calls and sum(data.count(b"INSERT INTO t") for data in calls) == 5
    for data in calls:
        for _ in range(3):
            peer = Peer(node, data)
            peer.s.shutdown(socket.SHUT_WR)
            peer.to_the_end()
            Peer(node, data).s.close()
    assert node.one("SELECT count(*) FROM t", params="?level=strong") == cluster.expected


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is no measure")
def test_memory_comes_back(node):
    """Hundreds of connections full of what is not finished: bounded while they last, gone afterwards."""
    def fill():
        peers = []
        for n in range(200):
            peer = Peer(node, PREFACE + hello())
            peer.s.settimeout(0.2)
            try:  # a message that never ends
                for _ in range(40):
                    peer.s.sendall(call(2, 1, bytes(60000), flags=MESSAGE_HERE | MORE) if _ == 0 else
                                   frame(MESSAGE, bytes(60000), MORE, 1))
            except OSError:
                pass
            peers.append(peer)
        for peer in peers:
            peer.s.close()

    fill()
    files = open_files(node)
    before = node.rss()
    for _ in range(3):
        fill()
    wait_until(lambda: open_files(node) <= files + 2, "closed sockets")
    wait_until(lambda: node.rss() < before + (16 << 20), "memory to come back", 10)
