"""The breakable network breaks what it is told to break, and nothing else."""
import socket
import struct
import threading
import time

import pytest

from proxy import PREFACE, Network


def hello(name, kind=1):
    body = struct.pack("<HHBBQI", 1, 1, kind, 0, 7, 1000) + struct.pack("<H", len(name)) + name.encode() + bytes(4)
    return PREFACE + struct.pack("<IBBBBII", len(body), 1, 0, 0, 0, 0, 0) + body


class End:
    """A socket that speaks in short texts."""

    def __init__(self, s):
        self.s = s
        s.settimeout(20)

    def say(self, text):
        self.s.sendall(text)

    def hears(self, text):
        got = b""
        while len(got) < len(text):
            piece = self.s.recv(len(text) - len(got))
            assert piece, got
            got += piece
        assert got == text, got

    def hears_nothing(self):
        self.s.settimeout(0.05)
        with pytest.raises(TimeoutError):
            self.s.recv(1)
        self.s.settimeout(20)

    def hears_the_end(self):
        try:
            return self.s.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def net():
    n = Network()
    yield n
    n.close()


@pytest.fixture
def dial(net):
    """A connection from node a to node b, as (a's end, b's end, how to make another)."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    port = net.add("b", server.getsockname()[1])
    opened = [server]

    def go(frm="a"):
        a = socket.create_connection(("127.0.0.1", port), 20)
        a.sendall(hello(frm))
        b = server.accept()[0]
        opened.extend([a, b])
        a, b = End(a), End(b)
        b.hears(hello(frm))
        return a, b

    def start(frm="a"):
        a = socket.create_connection(("127.0.0.1", port), 20)
        opened.append(a)
        a.sendall(hello(frm))
        return End(a)

    go.start = start
    yield go
    for s in opened:
        s.close()


def test_what_is_sent_arrives(net, dial):
    a, b = dial()
    big = bytes(range(256)) * 40000
    a.s.settimeout(20)
    t = threading.Thread(target=a.say, args=(big,))
    t.start()
    b.hears(big)
    t.join()
    b.say(b"yes")
    a.hears(b"yes")
    assert net.counts() == {("a", "b"): len(big) + len(hello("a")), ("b", "a"): 3}
    a.s.close()
    assert b.hears_the_end()


def test_one_way(net, dial):
    a, b = dial()
    c, d = dial("c")
    net.cut("a", "b")
    a.say(b"lost")
    b.say(b"heard")
    a.hears(b"heard")
    b.hears_nothing()
    c.say(b"other")
    d.hears(b"other")
    net.heal()
    assert b.hears_the_end() and a.hears_the_end()
    c.say(b"still")
    d.hears(b"still")
    a, b = dial()
    a.say(b"again")
    b.hears(b"again")


def test_a_partition_swallows_new_connections(net, dial):
    net.isolate("a")
    a = dial.start()
    a.hears_nothing()
    net.heal()
    assert a.hears_the_end()


def test_hold_and_delay_keep_the_order(net, dial):
    a, b = dial()
    net.hold("a", "b")
    a.say(b"one ")
    b.hears_nothing()
    net.heal()
    b.hears(b"one ")
    net.delay("a", "b", 0.2)
    start = time.monotonic()
    a.say(b"two ")
    b.hears(b"two ")
    assert time.monotonic() - start > 0.19
    a.say(b"three ")
    net.heal()
    a.say(b"four")
    b.hears(b"three four")


def test_slow(net, dial):
    a, b = dial()
    net.slow("a", "b", 100_000)
    start = time.monotonic()
    for _ in range(10):
        a.say(bytes(3000))
    b.hears(bytes(30000))
    assert time.monotonic() - start > 0.25


def test_refuse_and_reset(net, dial):
    a, b = dial()
    net.reset("a", "b")
    assert a.hears_the_end() and b.hears_the_end()
    a, b = dial()
    net.refuse("a", "b")
    assert a.hears_the_end() and b.hears_the_end()
    assert dial.start().hears_the_end()
    net.heal()
    a, b = dial()
    a.say(b"back")
    b.hears(b"back")


def test_capture(net, dial):
    net.capture()
    a, b = dial()
    a.say(b"more")
    b.hears(b"more")
    assert net.captured() == [("a", "b", "raft", hello("a") + b"more")]
