"""HTTP/2 by prior knowledge over plain sockets (RFC 9113): frames, a small client, and an origin that echoes streams.

    python3 h2.py PORT    the origin: answers every stream with what it is sent, message by message, as gRPC does

Requests are encoded as clients do (RFC 7541): every field enters the dynamic table with the first request on a
connection, and is one byte from then on. Field blocks that arrive are read as far as the status, which every server
sends as one byte; nothing else is asked of them here.
"""
from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass

if __package__:
    from .processes import Failed
else:
    Failed = Exception  # as the origin, a program of its own

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS, PADDED, PRIORITY = 4, 8, 0x20
INITIAL_WINDOW_SIZE = 4
WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
STATUS_200 = 0x88
CHUNK = 256 * 1024
TIMEOUT = 120.0  # seconds: of a single socket operation; a server may run under valgrind


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(size: int) -> bytes:
    """A gRPC message of `size` bytes, not compressed, with its prefix of five."""
    return struct.pack(">BI", 0, size) + b"x" * size


def _literal(name: str, value: str, indexed: bool) -> bytes:
    parts = (name.encode(), value.encode())
    return (b"\x40" if indexed else b"\x00") + b"".join(_length(len(part)) + part for part in parts)


def _length(count: int) -> bytes:
    if count < 127:
        return bytes([count])
    out, count = b"\x7f", count - 127
    while count > 127:
        out += bytes([count % 128 + 128])
        count //= 128
    return out + bytes([count])


@dataclass
class Response:
    status: int
    body: bytes


def request(address: tuple, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"",
            timeout: float = TIMEOUT) -> Response:
    """One request on a connection of its own; `status` is 200, or 0 for any other."""
    length = [("content-length", str(len(body)))] if body else []
    connection = Connection(address, fields(method, path, [*(headers or {}).items(), *length]), timeout)
    try:
        stream, opening = connection.request(body or None)
        connection.send(opening)
        connection.wait([stream], lambda stream: stream.ended)
        return Response(200 if stream.status == STATUS_200 else 0, bytes(stream.body))
    finally:
        connection.close()


def fields(method: str, path: str, more) -> list[tuple[str, str]]:
    """The fields of a request, whose authority is the address that it is sent to."""
    return [(":method", method), (":scheme", "http"), (":authority", "@AUTHORITY@"), (":path", path),
            *((name.lower(), value) for name, value in more)]


def open_streams(connection: "Connection", count: int, body: bytes | None = None, end: bool = True) -> list["Stream"]:
    """So many requests, sent together."""
    opened = [connection.request(body, end) for _ in range(count)]
    connection.send(b"".join(opening for _, opening in opened))
    return [stream for stream, _ in opened]


def converse(connections: list["Connection"], count: int, messages: int, body: bytes,
             until: float = 0.0) -> list[float]:
    """gRPC streams, `count` on each connection: `messages` times one goes out on every stream and comes back.

    Ends before that once the clock (time.perf_counter) is past `until`. Returns the seconds of each time.
    """
    open_ = [(connection, open_streams(connection, count, end=False)) for connection in connections]
    took, sent = [], 0
    while sent < messages and (not until or time.perf_counter() < until):
        begun = time.perf_counter()
        sent += 1
        for connection, streams in open_:
            connection.send(b"".join(connection.data(stream, body) for stream in streams))
        for connection, streams in open_:
            connection.wait(streams, lambda stream: len(stream.body) >= sent * len(body) or stream.ended)
        took.append(time.perf_counter() - begun)
    for connection, streams in open_:
        connection.send(b"".join(connection.data(stream, b"", end=True) for stream in streams))
        connection.finish(streams, grpc=True)
        if any(bytes(stream.body) != sent * body for stream in streams):
            raise Failed("a stream did not bring back what was sent on it")
    return took


def answers(address: tuple, path: str = "/1k") -> bool:
    """Whether a request is answered with 200 right now."""
    try:
        return request(address, "GET", path, timeout=2.0).status == 200
    except (OSError, Failed):
        return False


class Frames:
    """Bytes that have arrived, as frames: (kind, flags, stream, payload)."""

    def __init__(self):
        self.bytes = bytearray()

    def push(self, data: bytes) -> None:
        self.bytes += data

    def __iter__(self):
        at = 0
        while len(self.bytes) - at >= 9:
            size = int.from_bytes(self.bytes[at:at + 3], "big")
            if len(self.bytes) - at < 9 + size:
                break
            kind, flags = self.bytes[at + 3], self.bytes[at + 4]
            stream = int.from_bytes(self.bytes[at + 5:at + 9], "big") & WINDOW
            payload = bytes(self.bytes[at + 9:at + 9 + size])
            at += 9 + size
            yield kind, flags, stream, payload
        del self.bytes[:at]


class Stream:
    """A request that was sent, and what has come back so far."""

    def __init__(self, number: int, window: int):
        self.number, self.window = number, window
        self.status = 0
        self.body = bytearray()
        self.trailers = self.ended = False


class Connection:
    """One client's connection. Its requests all have the same fields."""

    def __init__(self, address: tuple, fields: list[tuple[str, str]], timeout: float = TIMEOUT):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames = Frames()
        self.window = self.initial = DEFAULT_WINDOW
        self.streams: dict[int, Stream] = {}
        self.next = 1
        authority = f"{address[0]}:{address[1]}"
        self.fields = [(name, value.replace("@AUTHORITY@", authority)) for name, value in fields]
        self.known = False
        # Windows so large that what this client reads is never what a server waits for.
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW))
                            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - DEFAULT_WINDOW)))

    def close(self) -> None:
        self.socket.close()

    def request(self, body: bytes | None = None, end: bool = True) -> tuple[Stream, bytes]:
        """A new stream, and the bytes that open it, `body` among them; it stays open unless `end`."""
        stream = Stream(self.next, self.initial)
        self.streams[stream.number] = stream
        self.next += 2
        alone = body is None and end
        opening = frame(HEADERS, END_HEADERS | (END_STREAM if alone else 0), stream.number, self._block())
        if body is not None:
            opening += self.data(stream, body, end)
        return stream, opening

    def data(self, stream: Stream, body: bytes, end: bool = False) -> bytes:
        """A DATA frame, once the windows have room for it."""
        while min(self.window, stream.window) < len(body):
            self.read()
        self.window -= len(body)
        stream.window -= len(body)
        return frame(DATA, END_STREAM if end else 0, stream.number, body)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def wait(self, streams: list[Stream], condition) -> None:
        """Reads until `condition` holds of every stream."""
        for stream in streams:
            while not condition(stream):
                self.read()

    def finish(self, streams: list[Stream], grpc: bool = False) -> None:
        """Reads to the end of the streams; each must have come to it with 200, and with trailers if `grpc`."""
        self.wait(streams, lambda stream: stream.ended)
        for stream in streams:
            del self.streams[stream.number]
            if stream.status != STATUS_200 or (grpc and not stream.trailers):
                raise Failed(f"a request was answered with a block that begins with {stream.status:#x}"
                             + ("" if stream.trailers or not grpc else ", and without trailers"))

    def read(self) -> None:
        data = self.socket.recv(CHUNK)
        if not data:
            raise Failed("the connection ended before the response did")
        self.frames.push(data)
        for kind, flags, number, payload in self.frames:
            self._take(kind, flags, number, payload)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if number == 0:
                self.window += more
            elif stream:
                stream.window += more
        elif kind == GOAWAY and (self.streams or payload[4:8] != b"\0\0\0\0"):
            raise Failed(f"GOAWAY with code {int.from_bytes(payload[4:8], 'big')}")
        elif kind == RST_STREAM and stream and not stream.ended:
            raise Failed(f"a stream was reset with code {int.from_bytes(payload, 'big')}")
        elif stream and kind == DATA:
            stream.body += payload
            stream.ended = bool(flags & END_STREAM)
        elif stream and kind == HEADERS:
            if stream.status:
                stream.trailers = True
            else:
                at = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
                while payload[at] & 0xE0 == 0x20:  # an update of the table's size, RFC 7541 §6.3
                    at += 1 if payload[at] & 0x1F < 0x1F else 1 + _integer(payload[at + 1:])
                stream.status = payload[at]
            stream.ended = bool(flags & END_STREAM)

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            key, value = struct.unpack(">HI", payload[at:at + 6])
            if key == INITIAL_WINDOW_SIZE:
                for stream in self.streams.values():
                    stream.window += value - self.initial
                self.initial = value
        self.send(frame(SETTINGS, ACK, 0))

    def _block(self) -> bytes:
        """The field block: literals that enter the dynamic table, and their indices from the second time on."""
        if not self.known:
            self.known = True
            return b"".join(_literal(name, value, True) for name, value in self.fields)
        # The newest entry is 62, after the 61 of the static table.
        return bytes(0x80 | (62 + len(self.fields) - 1 - at) for at in range(len(self.fields)))


def _integer(rest: bytes) -> int:
    """How many bytes a prefixed integer goes on for."""
    return next(at + 1 for at, byte in enumerate(rest) if not byte & 0x80)


class Echo:
    """One connection of the origin."""

    HEAD = bytes([STATUS_200]) + _literal("content-type", "application/grpc", False)
    TRAILERS = _literal("grpc-status", "0", False)
    # Credit is given back in larger pieces, as servers do.
    REFILL = 32 * 1024

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.frames = Frames()
        self.window = self.initial = DEFAULT_WINDOW
        self.windows: dict[int, int] = {}
        self.waiting: list[tuple[int, bytes, bool]] = []
        self.taken = 0
        self.preface = len(PREFACE)
        self.out = frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW))

    def readable(self) -> bool:
        """Answers what has arrived; false at the end of the connection."""
        try:
            data = self.socket.recv(CHUNK)
        except OSError:
            return False
        if not data:
            return False
        skipped = min(self.preface, len(data))
        self.preface -= skipped
        self.frames.push(data[skipped:])
        for kind, flags, number, payload in self.frames:
            self._take(kind, flags, number, payload)
        self._flush()
        if self.out:
            self.socket.sendall(self.out)
            self.out = b""
        return True

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == HEADERS:
            self.windows[number] = self.initial
            self.out += frame(HEADERS, END_HEADERS, number, self.HEAD)
            if flags & END_STREAM:
                self.waiting.append((number, b"", True))
        elif kind == DATA:
            self.taken += len(payload)
            if self.taken >= self.REFILL:
                self.out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self.taken))
                self.taken = 0
            self.waiting.append((number, payload, bool(flags & END_STREAM)))
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at:at + 6])
                if key == INITIAL_WINDOW_SIZE:
                    self.windows = {stream: window + value - self.initial for stream, window in self.windows.items()}
                    self.initial = value
            self.out += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if number == 0:
                self.window += more
            elif number in self.windows:
                self.windows[number] += more
        elif kind == RST_STREAM:
            self.windows.pop(number, None)

    def _flush(self) -> None:
        """Sends what the windows have room for, the rest in its order later."""
        kept, held = [], set()
        for number, payload, end in self.waiting:
            if number not in self.windows:
                continue
            if number in held or len(payload) > min(self.window, self.windows[number]):
                held.add(number)
                kept.append((number, payload, end))
                continue
            self.window -= len(payload)
            self.windows[number] -= len(payload)
            if payload:
                self.out += frame(DATA, 0, number, payload)
            if end:
                self.out += frame(HEADERS, END_HEADERS | END_STREAM, number, self.TRAILERS)
                del self.windows[number]
        self.waiting = kept


def serve(port: int) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                accepted = listener.accept()[0]
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ, Echo(accepted))
            elif not key.data.readable():
                selector.unregister(key.fileobj)
                key.fileobj.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
