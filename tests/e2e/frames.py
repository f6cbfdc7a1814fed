"""HTTP/2 frames by hand, for tests that say what no client library would."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    """A string literal of HPACK without Huffman's code."""
    value = value.encode() if isinstance(value, str) else value
    if len(value) < 127:
        return bytes([len(value)]) + value
    length, rest = b"\x7f", len(value) - 127
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + value


def field(name, value):
    """A literal header field that is never indexed."""
    return b"\x10" + text(name) + text(value)


def request(path="/readyz?noleader", method="GET", *more):
    return b"".join(field(n, v) for n, v in [(":method", method), (":scheme", "http"), (":path", path),
                                             (":authority", "x"), *more])


class Client:
    """A connection that has said hello; settings are its own as bytes."""

    def __init__(self, port, settings=b""):
        self.s = socket.create_connection(("127.0.0.1", port), 60)
        self.s.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        self.got = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, *frames):
        """False: the server has closed."""
        try:
            self.s.sendall(b"".join(frames))
            return True
        except OSError:
            return False

    def get(self, stream, path="/readyz?noleader"):
        return self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, request(path)))

    def read(self):
        """The next frame as (kind, flags, stream, payload); None at the end."""
        while True:
            if len(self.got) >= 9:
                length = int.from_bytes(self.got[:3], "big")
                if len(self.got) >= 9 + length:
                    head, payload = self.got[:9], self.got[9:9 + length]
                    self.got = self.got[9 + length:]
                    return head[3], head[4], int.from_bytes(head[5:9], "big"), payload
            try:
                piece = self.s.recv(65536)
            except ConnectionError:
                return None
            if not piece:
                return None
            self.got += piece

    def until(self, wanted):
        """Frames up to the first that wanted() accepts, or the end."""
        seen = []
        while True:
            f = self.read()
            if f is None:
                return seen, None
            seen.append(f)
            if wanted(*f):
                return seen, f

    def answer(self, stream):
        """The body of the answer on that stream; None if it was reset or the connection has ended."""
        body = b""
        while True:
            f = self.read()
            if f is None or (f[0] == RST_STREAM and f[2] == stream):
                return None
            if f[2] == stream and f[0] == DATA:
                body += f[3]
            if f[2] == stream and f[0] in (HEADERS, DATA) and f[1] & END_STREAM:
                return body
