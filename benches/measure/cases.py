"""What is counted: so many requests, in so many ways, after a pool of connections has been filled."""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable

from . import client, h2, peers
from .modes import GRPC, H2, HTTP, HTTPS, Mode
from .processes import Child, Failed, wait_for
from .programs import GRPC_BYTES, GRPC_FIELDS

CONNECTIONS = 50
HTTPS_CONNECTIONS = 10
# What a browser's fetch sends, more or less.
FIELDS = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "application/json"), ("Accept-Language", "en-GB,en;q=0.7"), ("Accept-Encoding", "gzip, deflate, br"),
    ("Authorization", "Bearer of-the-client"))


@dataclass(frozen=True)
class Case:
    """So many requests, in a way."""

    mode: Mode
    key: str
    title: str
    requests: int
    send: Callable[[Any, int], None] | None  # None for the start to the first answer, with everything before and after
    before: Callable[[Any], None] | None = None  # done, but not counted


def settle(child: Child) -> None:
    """Waits until a process has done nothing for a moment."""
    last, quiet = child.cpu_ns(), 0
    while quiet < 3:
        time.sleep(0.01)
        now = child.cpu_ns()
        last, quiet = now, quiet + 1 if now == last else 0


class Load:
    """HTTP/1.1 connections to a proxy, each used before, and requests on them."""

    def __init__(self, child: Child, address: client.Address, site: peers.Site):
        self.address = address
        count = HTTPS_CONNECTIONS if site.certificate else CONNECTIONS
        self.open = [client.Connection(address, 120.0) for _ in range(count)]
        self._fill_pool(child, site)
        self.spread(2 * count)

    def _fill_pool(self, child: Child, site: peers.Site) -> None:
        """All connections wait for a body together, so that the proxy has as many to the origin in every run.

        To an https origin one after the other: what a handshake costs depends on the tickets that are there already.
        """
        for at, connection in enumerate(self.open, 1):
            connection.socket.sendall(self._head("POST", "/bulk-sink", "Content-Length: 1\r\n"))
            if site.certificate or at == len(self.open):
                if not wait_for(lambda: client.established(site.origin) >= at, 60.0, 0.01):
                    raise Failed(f"of {at} requests under way {client.established(site.origin)} reached the origin")
            if site.certificate:
                settle(child)
        for connection in self.open:
            connection.socket.sendall(b"x")
        for connection in self.open:
            self._receive(connection)

    def one(self, count: int) -> None:
        for _ in range(count):
            self._send(self.open[0])
            self._receive(self.open[0])

    def spread(self, count: int) -> None:
        for _ in range(count // len(self.open)):
            for connection in self.open:
                self._send(connection)
            for connection in self.open:
                self._receive(connection)

    def posts(self, count: int) -> None:
        body = b"x" * 4096
        for _ in range(count):
            connection = self.open[0]
            connection.socket.sendall(self._head("POST", "/sink", f"Content-Length: {len(body)}\r\n") + body)
            self._receive(connection)

    def anew(self, count: int) -> None:
        for _ in range(count):
            connection = client.Connection(self.address, 120.0)
            connection.socket.sendall(self._head("GET", "/1k", "Connection: close\r\n"))
            self._receive(connection)
            connection.close()

    def close_origin(self) -> None:
        """Leaves the proxy without a connection to the origin."""
        for connection in self.open:
            connection.socket.sendall(self._head("GET", "/1k-close", ""))
        for connection in self.open:
            self._receive(connection)

    def origin_anew(self, count: int) -> None:
        for _ in range(count):
            self.open[0].socket.sendall(self._head("GET", "/1k-close", ""))
            self._receive(self.open[0])

    def close(self) -> None:
        for connection in self.open:
            connection.close()

    def _send(self, connection: client.Connection) -> None:
        connection.socket.sendall(self._head("GET", "/1k", ""))

    def _head(self, method: str, path: str, more: str) -> bytes:
        fields = "".join(f"{name}: {value}\r\n" for name, value in FIELDS)
        return (f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\n{fields}{more}\r\n").encode()

    @staticmethod
    def _receive(connection: client.Connection) -> None:
        status = connection.read_response().status
        if status != 200:
            raise Failed(f"a request was answered with {status}")


class Http2:
    """HTTP/2 connections to a proxy, each used before; on one of them, or ten streams at once on each of five."""

    CONNECTIONS, STREAMS = 5, 10

    def __init__(self, child: Child, address: client.Address, site: peers.Site):
        self.gets = self._open(address, h2.fields("GET", "/1k", FIELDS))
        self.unaries = self.streams = []
        self.spread(2 * CONNECTIONS)
        if site.mode.origin_h2:
            self.unaries = self._open(address, h2.fields("POST", "/unary.grpc", GRPC_FIELDS))
            self.streams = self._open(address, h2.fields("POST", "/stream", GRPC_FIELDS))
            self.calls_at_once(2 * CONNECTIONS)
            self.messages_at_once(2 * CONNECTIONS)

    def one(self, count: int) -> None:
        self._requests(self.gets[:1], 1, count, None)

    def spread(self, count: int) -> None:
        self._requests(self.gets, self.STREAMS, count, None)

    def calls(self, count: int) -> None:
        self._requests(self.unaries[:1], 1, count, h2.message(GRPC_BYTES))

    def calls_at_once(self, count: int) -> None:
        self._requests(self.unaries, self.STREAMS, count, h2.message(GRPC_BYTES))

    def messages(self, count: int) -> None:
        h2.converse(self.streams[:1], 1, count, h2.message(GRPC_BYTES))

    def messages_at_once(self, count: int) -> None:
        each = count // (self.CONNECTIONS * self.STREAMS)
        h2.converse(self.streams, self.STREAMS, each, h2.message(GRPC_BYTES))

    def close(self) -> None:
        for connection in [*self.gets, *self.unaries, *self.streams]:
            connection.close()

    def _open(self, address: client.Address, fields: list[tuple[str, str]]) -> list[h2.Connection]:
        return [h2.Connection(address, fields) for _ in range(self.CONNECTIONS)]

    @staticmethod
    def _requests(connections: list[h2.Connection], streams: int, count: int, body: bytes | None) -> None:
        for _ in range(count // (len(connections) * streams)):
            opened = [h2.open_streams(connection, streams, body) for connection in connections]
            for connection, these in zip(connections, opened):
                connection.finish(these, grpc=body is not None)


CASES = (
    Case(HTTP, "one", "1 connection", 1000, Load.one),
    Case(HTTP, "fifty", f"{CONNECTIONS} connections", 1000, Load.spread),
    Case(HTTP, "post", "POST of 4 KiB", 500, Load.posts),
    Case(HTTP, "new", "new connection each", 300, Load.anew),
    Case(HTTP, "start", "start, first 200, end", 1, None),
    Case(HTTPS, "https.one", "1 connection", 1000, Load.one),
    Case(HTTPS, "https.ten", f"{HTTPS_CONNECTIONS} connections", 1000, Load.spread),
    Case(HTTPS, "https.post", "POST of 4 KiB", 500, Load.posts),
    Case(HTTPS, "https.new", "new connection to the origin each", 100, Load.origin_anew, Load.close_origin),
    Case(H2, "h2.one", "1 stream", 1000, Http2.one),
    Case(H2, "h2.fifty", "5 × 10 streams", 1000, Http2.spread),
    Case(GRPC, "grpc.get", "GET, 1 stream", 1000, Http2.one),
    Case(GRPC, "grpc.gets", "GET, 5 × 10 streams", 1000, Http2.spread),
    Case(GRPC, "grpc.unary", "unary call, 1 at once", 1000, Http2.calls),
    Case(GRPC, "grpc.unaries", "unary call, 5 × 10 at once", 1000, Http2.calls_at_once),
    Case(GRPC, "grpc.stream", "message there and back, 1 stream", 1000, Http2.messages),
    Case(GRPC, "grpc.streams", "the same, 5 × 10 streams", 1000, Http2.messages_at_once),
)
