"""A network that can be broken: TCP proxies between nodes, one listener for each node.

Every node advertises its proxy's address and listens on another, so all that nodes send one another
passes here.  Who dialled is told by the hello at the start of each connection (core/net/frame.c) or,
where that is encrypted, by the process that has the socket, if run_by() has told of it.  So each direction between each two nodes is a link (from, to) with a rule of its own, whoever dialled:

    Network.partition(["1"], ["2", "3"])    both ways; bytes vanish, as on a cut wire
    Network.cut("1", "2")                   one way: nothing from 1 reaches 2
    Network.delay("*", "3", 0.2)            late, but in order
    Network.hold("1", "2")                  nothing arrives until healed; then all of it does
    Network.refuse("1", "2")                connections are reset, new ones too
    Network.slow("1", "2", 50_000)          bytes per second
    Network.heal()

A connection that has lost bytes is reset when its link is healed: nothing follows a hole.

The work is done by a process of its own (this file as a program), so that a test's threads and the
traffic don't wait for one another.
"""
import base64
import collections
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

PREFACE = b"\x89RQLNET\n"
HEADER = 16
TLS_HANDSHAKE = b"\x16"
CLASSES = {1: "raft", 2: "call", 3: "bulk"}
CAPTURE_MAX = 1 << 20


class Network:
    """What a test holds."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def _do(self, verb, *args):
        self.process.stdin.write(json.dumps([verb, *args]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the proxy has ended"
        return json.loads(line)

    def add(self, name, port):
        """The port by which others reach the node of this name, which listens on port."""
        return self._do("add", name, port)

    def run_by(self, name, pid):
        """The process that is the node of this name from now on."""
        self._do("run_by", name, pid)

    def set(self, frm, to, **rule):
        self._do("set", frm, to, rule)

    def cut(self, frm, to):
        self.set(frm, to, mode="drop")

    def hold(self, frm, to):
        self.set(frm, to, mode="hold")

    def refuse(self, frm, to):
        self.set(frm, to, mode="refuse")

    def delay(self, frm, to, seconds):
        self.set(frm, to, delay=seconds)

    def slow(self, frm, to, bytes_per_second):
        self.set(frm, to, rate=bytes_per_second)

    def partition(self, *groups):
        for a in groups:
            for b in groups:
                if a is not b:
                    for x in a:
                        for y in b:
                            self.cut(x, y)

    def isolate(self, name):
        self.cut(name, "*")
        self.cut("*", name)

    def heal(self):
        self._do("heal")

    def reset(self, frm="*", to="*"):
        """Break the connections that `frm` dialled to `to`, once."""
        self._do("reset", frm, to)

    def capture(self, on=True):
        """Keep what is sent at the start of connections that are made from now on."""
        self._do("capture", on)

    def captured(self):
        """[(dialler, node it dialled, class, bytes that the dialler sent)]"""
        return [(frm, to, kind, base64.b64decode(data)) for frm, to, kind, data in self._do("captured")]

    def counts(self):
        """Bytes that arrived, by link."""
        return {(frm, to): n for frm, to, n in self._do("counts")}

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


# --- the process ---------------------------------------------------------------------------------


class Pipe:
    """One direction of a connection."""

    def __init__(self, proxy, link):
        self.proxy, self.link = proxy, link
        self.source = self.sink = None
        self.queue = collections.deque()  # (due, bytes)
        self.queued = 0
        self.free_at = 0.0                # when a slow link has sent what it has
        self.ended = False                # the source sends no more
        self.done = False                 # and the sink knows
        self.hole = False                 # bytes were lost

    def rule(self):
        return self.proxy.rule(*self.link)

    def take(self, data, now):
        rule = self.rule()
        if rule.get("mode") == "drop":
            self.hole = True
            return
        due = now + rule.get("delay", 0)
        if rule.get("rate"):
            self.free_at = max(self.free_at, now) + len(data) / rule["rate"]
            due = max(due, self.free_at)
        if self.queue:
            due = max(due, self.queue[-1][0])  # in order
        self.queue.append((due, data))
        self.queued += len(data)

    def due(self):
        """When something can be written, None for not yet known."""
        if self.queue and self.sink and self.rule().get("mode") not in ("hold", "drop"):
            return self.queue[0][0]
        return None

    def wants_read(self):
        return not self.ended and self.queued < 4 << 20 and self.rule().get("mode") != "hold"


class Connection:
    def __init__(self, proxy, client, to):
        self.proxy, self.client, self.to = proxy, client, to
        self.server = None
        self.frm = None  # not known yet
        self.kind = ""
        self.early = b""
        self.sent = bytearray() if proxy.capturing else None
        self.there = Pipe(proxy, ("?", to))
        self.back = Pipe(proxy, (to, "?"))
        self.interest = {}
        client.setblocking(False)
        self.there.source = self.back.sink = client

    def identify(self):
        """Who dials?  False: more bytes are needed to tell."""
        e = self.early
        if len(e) >= 1 and not PREFACE.startswith(e[:8]):
            self.frm = self.proxy.owner(self.client) if e[:1] == TLS_HANDSHAKE else "?"
            return True
        if len(e) < 8 + HEADER:
            return False
        length, kind = struct.unpack_from("<IB", e, 8)
        if kind != 1 or not 24 <= length <= 4096:
            self.frm = "?"
            return True
        if len(e) < 8 + HEADER + length:
            return False
        body = e[8 + HEADER:]
        self.kind = CLASSES.get(body[4], "?")
        n = struct.unpack_from("<H", body, 18)[0]
        self.frm = body[20:20 + n].decode("utf-8", "replace") or "?"
        return True

    def known(self):
        self.there.link, self.back.link = (self.frm, self.to), (self.to, self.frm)
        if self.proxy.rule(self.frm, self.to).get("mode") == "refuse":
            self.close()
            return
        if self.proxy.rule(self.frm, self.to).get("mode") == "drop":
            self.there.hole = True  # a dial that gets no answer
            return
        self.server = socket.socket()
        self.server.setblocking(False)
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connect_ex(("127.0.0.1", self.proxy.targets[self.to]))
        self.there.sink = self.back.source = self.server
        self.there.take(self.early, time.monotonic())

    def close(self, reset=True):
        for s in (self.client, self.server):
            if s is None:
                continue
            if s in self.interest:
                self.proxy.selector.unregister(s)
                del self.interest[s]
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self.proxy.connections.discard(self)

    def pipes(self):
        return (self.there, self.back)

    def refresh(self, now):
        """Tell the selector what is wanted."""
        for s in (self.client, self.server):
            if s is None:
                continue
            mask = 0
            for p in self.pipes():
                if p.source is s and p.wants_read():
                    mask |= selectors.EVENT_READ
                due = p.due()
                if p.sink is s and due is not None and due <= now:
                    mask |= selectors.EVENT_WRITE
            had = self.interest.get(s)
            if mask == (had or 0):
                continue
            if had is None:
                self.proxy.selector.register(s, mask, self)
            elif mask == 0:
                self.proxy.selector.unregister(s)
            else:
                self.proxy.selector.modify(s, mask, self)
            if mask:
                self.interest[s] = mask
            else:
                del self.interest[s]

    def ready(self, s, mask, now):
        try:
            for p in self.pipes():
                if mask & selectors.EVENT_READ and p.source is s and p.wants_read():
                    self.read(p, now)
                if self not in self.proxy.connections:
                    return
                if mask & selectors.EVENT_WRITE and p.sink is s:
                    self.write(p, now)
        except BlockingIOError:
            pass
        except OSError:
            self.broken(s)

    def read(self, p, now):
        data = p.source.recv(262144)
        if not data:
            p.ended = True
            if p is self.there and self.server is None and not p.hole:
                self.close()
            return
        if p is self.there and self.sent is not None and len(self.sent) < CAPTURE_MAX:
            self.sent += data
            if self not in self.proxy.recorded:
                self.proxy.recorded.append(self)
        if self.frm is None:
            self.early += data
            if self.identify():
                self.known()
        else:
            p.take(data, now)

    def write(self, p, now):
        while p.queue and p.queue[0][0] <= now:
            due, data = p.queue[0]
            n = p.sink.send(data)
            self.proxy.counts[p.link] += n
            p.queued -= n
            if n < len(data):
                p.queue[0] = (due, data[n:])
                return
            p.queue.popleft()

    def settle(self):
        """Pass on the end of what was sent, and end when both directions have."""
        for p in self.pipes():
            if p.ended and not p.done and not p.queue and p.rule().get("mode") not in ("drop", "hold") and not p.hole:
                p.done = True
                try:
                    if p.sink:
                        p.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
        if self.there.done and self.back.done:
            self.close(reset=False)

    def broken(self, s):
        """A socket broke.  The other end learns it unless the link is cut."""
        for p in self.pipes():
            if p.source is s and p.rule().get("mode") in ("drop", "hold"):
                p.ended = p.hole = True
                if s in self.interest:
                    self.proxy.selector.unregister(s)
                    del self.interest[s]
                other = self.back if p is self.there else self.there
                other.ended = other.hole = True
                other.queue.clear()
                other.queued = 0
                return
        self.close()


class Proxy:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.targets, self.rules, self.pids = {}, {}, {}
        self.connections, self.touched = set(), set()  # touched: to be looked at in the next round
        self.counts = collections.Counter()
        self.capturing, self.recorded = False, []
        self.commands = b""

    def rule(self, frm, to):
        for key in ((frm, to), (frm, "*"), ("*", to), ("*", "*")):
            if key in self.rules:
                return self.rules[key]
        return {}

    def owner(self, client):
        """The node that has the other end of this connection."""
        host, port = client.getpeername()
        local = "%08X:%04X" % (struct.unpack("<I", socket.inet_aton(host))[0], port)
        with open("/proc/net/tcp", encoding="ascii") as f:
            inodes = {"socket:[%s]" % line.split()[9] for line in f if line.split()[1] == local}
        for name, pid in self.pids.items():
            fds = "/proc/%d/fd" % pid
            try:
                if any(os.readlink(os.path.join(fds, fd)) in inodes for fd in os.listdir(fds)):
                    return name
            except OSError:
                pass  # it has ended, or the file was closed meanwhile
        return "?"

    def command(self, verb, *args):
        if verb == "run_by":
            self.pids[args[0]] = args[1]
        elif verb == "add":
            name, port = args
            if name in self.targets:
                self.targets[name] = port
                return None
            self.targets[name] = port
            s = socket.create_server(("127.0.0.1", 0), backlog=512)
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ, name)
            return s.getsockname()[1]
        if verb == "set":
            frm, to, rule = args
            self.rules[frm, to] = rule
            if rule.get("mode") == "refuse":
                self.command("reset", frm, to)
        elif verb == "heal":
            self.rules.clear()
            for c in list(self.connections):
                if c.there.hole or c.back.hole:
                    c.close()
        elif verb == "reset":
            for c in list(self.connections):
                if args[0] in ("*", c.frm) and args[1] in ("*", c.to):
                    c.close()
        elif verb == "capture":
            self.capturing = args[0]
            if args[0]:
                self.recorded = []
        elif verb == "captured":
            return [(c.frm, c.to, c.kind, base64.b64encode(bytes(c.sent)).decode()) for c in self.recorded]
        elif verb == "counts":
            return [(frm, to, n) for (frm, to), n in self.counts.items()]
        return None

    def serve(self):
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, None)
        while True:
            now = time.monotonic()
            soonest = None
            touched, self.touched = self.touched, set()
            for c in touched:
                c.settle()
                if c not in self.connections:
                    continue
                c.refresh(now)
                for p in c.pipes():
                    due = p.due()
                    if due is not None and due > now:
                        self.touched.add(c)
                        if soonest is None or due < soonest:
                            soonest = due
            for key, mask in self.selector.select(None if soonest is None else max(0, soonest - now)):
                if key.data is None:
                    if not self.obey():
                        return
                elif isinstance(key.data, str):
                    try:
                        client, _ = key.fileobj.accept()
                    except OSError:
                        continue
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    c = Connection(self, client, key.data)
                    self.connections.add(c)
                    self.touched.add(c)
                elif key.data in self.connections:
                    self.touched.add(key.data)
                    key.data.ready(key.fileobj, mask, time.monotonic())

    def obey(self):
        """Commands from the test; False when it is gone."""
        data = os.read(0, 65536)
        if not data:
            return False
        self.commands += data
        while b"\n" in self.commands:
            line, self.commands = self.commands.split(b"\n", 1)
            answer = self.command(*json.loads(line))
            self.touched |= self.connections
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        return True


if __name__ == "__main__":
    Proxy().serve()
