"""A small HTTP/1.1 client over plain sockets: single requests, bulk transfers, idle connections.

Not urllib: that loads OpenSSL, whose pages a peer would then share, and its memory would be under-reported.
"""
from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from .processes import Failed

Address = tuple  # (host, port)
TIMEOUT = 20.0  # seconds: of every single socket operation
CHUNK = 256 * 1024  # bytes: large enough that the system calls of this client are not what limits a bulk transfer


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, kept alive between requests."""

    def __init__(self, address: Address, timeout: float = TIMEOUT):
        self.host = f"{address[0]}:{address[1]}"
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ahead = b""

    def close(self) -> None:
        self.socket.close()

    def send_head(self, method: str, path: str, headers: dict[str, str] | None = None) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def read_head(self) -> Response:
        head, _, rest = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        self.ahead = rest
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Response(int(lines[0].split()[1]), headers, b"")

    def read_response(self) -> Response:
        response = self.read_head()
        if "content-length" in response.headers:
            response.body = self._exactly(int(response.headers["content-length"]))
        elif response.headers.get("transfer-encoding", "").lower() == "chunked":
            response.body = self._chunked()
        else:
            response.body = self._to_end()
        return response

    def discard(self, count: int) -> None:
        """Reads `count` bytes of a body and forgets them."""
        count -= len(self.ahead)
        self.ahead = b""
        buffer = memoryview(bytearray(CHUNK))
        while count > 0:
            got = self.socket.recv_into(buffer[:min(CHUNK, count)])
            if got == 0:
                raise Failed("the connection ended in the middle of a body")
            count -= got

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.ahead:
            self._more()
        return self.ahead

    def _exactly(self, count: int) -> bytes:
        while len(self.ahead) < count:
            self._more()
        body, self.ahead = self.ahead[:count], self.ahead[count:]
        return body

    def _chunked(self) -> bytes:
        body = b""
        while True:
            line, _, self.ahead = self._until(b"\r\n").partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            body += self._exactly(size + 2)[:-2]
            if size == 0:
                return body

    def _to_end(self) -> bytes:
        try:
            while True:
                self._more()
        except Failed:
            return self.ahead

    def _more(self) -> None:
        data = self.socket.recv(CHUNK)
        if not data:
            raise Failed("the connection ended before the response did")
        self.ahead += data


def request(address: Address, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"",
            timeout: float = TIMEOUT) -> Response:
    """One request on a connection of its own."""
    connection = Connection(address, timeout)
    try:
        extra = {"Connection": "close", **(headers or {})}
        if body:
            extra["Content-Length"] = str(len(body))
        connection.send_head(method, path, extra)
        if body:
            connection.socket.sendall(body)
        return connection.read_response()
    finally:
        connection.close()


def answers(address: Address, path: str = "/1k") -> bool:
    """Whether a request is answered with 200 right now."""
    try:
        return request(address, "GET", path, timeout=2.0).status == 200
    except (OSError, Failed):
        return False


def accepts(address: Address) -> bool:
    """Whether a connection is accepted right now."""
    try:
        socket.create_connection(address, 2.0).close()
        return True
    except OSError:
        return False


def established(address: Address) -> int:
    """How many connections to `address` are open, of whatever process (/proc/net/tcp: remote address, state 01)."""
    remote = f":{address[1]:04X}"
    with open("/proc/net/tcp") as table:
        return sum(line.split()[2].endswith(remote) and line.split()[3] == "01" for line in table)


def download(address: Address, path: str, seconds: float) -> tuple[int, float]:
    """GETs `path` again and again on one connection for about `seconds`; bytes and seconds."""
    connection, total, start = Connection(address), 0, time.perf_counter()
    try:
        while time.perf_counter() - start < seconds:
            connection.send_head("GET", path)
            response = connection.read_head()
            if response.status != 200 or "content-length" not in response.headers:
                raise Failed(f"GET {path}: status {response.status}, or no Content-Length")
            size = int(response.headers["content-length"])
            connection.discard(size)
            total += size
        return total, time.perf_counter() - start
    finally:
        connection.close()


def upload(address: Address, path: str, size: int, seconds: float) -> tuple[int, float]:
    """POSTs `size` bytes again and again on one connection for about `seconds`; bytes and seconds."""
    block = memoryview(bytes(CHUNK))
    connection, total, start = Connection(address), 0, time.perf_counter()
    try:
        while time.perf_counter() - start < seconds:
            connection.send_head("POST", path, {"Content-Length": str(size)})
            for sent in range(0, size, CHUNK):
                connection.socket.sendall(block[:size - sent])
            response = connection.read_response()
            if response.status != 200:
                raise Failed(f"POST {path}: status {response.status}")
            total += size
        return total, time.perf_counter() - start
    finally:
        connection.close()


def idle_connections(address: Address, count: int) -> list[Connection]:
    """Opens `count` connections that have each had one request answered, and now wait."""
    opened = []
    for _ in range(count):
        connection = Connection(address)
        opened.append(connection)
        connection.send_head("GET", "/1k")
        status = connection.read_response().status
        if status != 200:
            raise Failed(f"GET /1k: status {status} on connection {len(opened)}")
    return opened


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
