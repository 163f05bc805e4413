"""One measurement: a load on one peer for a moment, and what the peer spent on it."""
from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import client, h2, programs
from .programs import GRPC_BYTES, GRPC_FIELDS
from .processes import Child, Failed, busy_ns

SCRIPT = Path(__file__).with_name("wrk.lua")
SETTLE = 0.03  # seconds after the load: what a peer still does about connections that were closed belongs to it
# Bytes of one bulk transfer: enough that its head hardly counts, and what the origin holds in memory it takes from its
# heap again and again (malloc maps larger pieces anew each time).
BULK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Load:
    """A kind of load. `rate` 0 is as fast as answers come; `body` 0 is a GET."""

    key: str
    connections: int = 1
    reconnect: bool = False
    body: int = 0
    rate: int = 0
    bulk: str = ""  # "download" or "upload"
    path: str = ""
    streams: int = 0  # HTTP/2: at once on each connection
    grpc: str = ""  # "unary" or "stream"


HTTP_LOADS = (
    Load("c1"),
    Load("c50", connections=50),
    Load("c256", connections=256),
    Load("new", connections=50, reconnect=True),
    Load("post", connections=50, body=4096),
    Load("rate", connections=50, rate=2000),
    Load("download", bulk="download"),
    Load("upload", bulk="upload"),
)
HTTPS_LOADS = (
    Load("https.c1"),
    Load("https.c50", connections=50),
    Load("https.post", connections=50, body=4096),
    Load("https.new", connections=10, path="/1k-close"),
    Load("https.download", bulk="download"),
    Load("https.upload", bulk="upload"),
)
H2_LOADS = (
    Load("h2.one", streams=1),
    Load("h2.many", connections=10, streams=10),
)
GRPC_LOADS = (
    Load("grpc.get", connections=10, streams=10),
    Load("grpc.one", streams=1, grpc="unary"),
    Load("grpc.many", connections=10, streams=10, grpc="unary"),
    Load("grpc.stream", streams=1, grpc="stream"),
    Load("grpc.streams", connections=10, streams=10, grpc="stream"),
)
WORKERS_LOADS = (
    Load("workers.rate", connections=50, rate=2000),
    Load("workers.c50", connections=50),
)
ALLOCATOR_LOADS = (
    Load("allocators.c1"),
    Load("allocators.c50", connections=50),
    Load("allocators.post", connections=50, body=4096),
)


@dataclass
class Sample:
    """What one measurement gave: figures by name, and what share of the proxy's CPU others took meanwhile."""

    figures: dict[str, float]
    foreign: float


def measure(load: Load, address: client.Address, child: Child | None, proxy_cpu: int | None, scratch: Path,
            seconds: float) -> Sample:
    """Runs `load` against `address` for `seconds`. `child` is None for the origin itself, whose CPU is not counted."""
    busy, wall = busy_ns(proxy_cpu) if proxy_cpu is not None else 0, time.perf_counter()
    before = child.cpu_ns() if child else 0
    if load.bulk:
        figures, unit_count = _bulk(load, address, seconds)
    elif load.grpc == "stream":
        figures, unit_count = _messages(load, address, seconds)
    elif load.streams:
        figures, unit_count = _streams(load, address, scratch, seconds)
    else:
        figures, unit_count = _requests(load, address, seconds)
    time.sleep(SETTLE)
    wall = time.perf_counter() - wall
    foreign = 0.0
    if child:
        used = child.cpu_ns() - before
        if used <= 0:
            raise Failed("no CPU time was counted: does this kernel keep /proc/PID/schedstat?")
        figures["cpu"] = used / 1e3 / unit_count
        if proxy_cpu is not None:
            foreign = max(0.0, (busy_ns(proxy_cpu) - busy - used) / (wall * 1e9))
    return Sample(figures, foreign)


def _bulk(load: Load, address: client.Address, seconds: float) -> tuple[dict[str, float], float]:
    """Figure `mb_s`; the unit of the CPU figure is a megabyte (10^6 bytes)."""
    if load.bulk == "download":
        count, took = client.download(address, "/f/bulk", seconds)
    else:
        count, took = client.upload(address, "/bulk-sink", BULK_BYTES, seconds)
    return {"mb_s": count / 1e6 / took}, count / 1e6


def _messages(load: Load, address: client.Address, seconds: float) -> tuple[dict[str, float], float]:
    """Figures `rps`, `p50` and `p99` (µs) of gRPC messages that go there and come back; the unit is such a message.

    All streams wait for each other: of many, the latencies are those of the slowest.
    """
    fields = h2.fields("POST", "/stream", GRPC_FIELDS)
    connections = [h2.Connection(address, fields) for _ in range(load.connections)]
    try:
        begun = time.perf_counter()
        took = sorted(h2.converse(connections, load.streams, 10**9, h2.message(GRPC_BYTES), begun + seconds))
        count = len(took) * load.connections * load.streams
        return ({"rps": count / (time.perf_counter() - begun), "p50": took[len(took) // 2] * 1e6,
                 "p99": took[len(took) * 99 // 100] * 1e6}, count)
    finally:
        for connection in connections:
            connection.close()


def _streams(load: Load, address: client.Address, scratch: Path, seconds: float) -> tuple[dict[str, float], float]:
    """Figures `rps`, `p50` and `p99` (µs) of HTTP/2 requests; the unit of the CPU figure is a request."""
    times, body = scratch / "h2load.log", scratch / "h2load.body"
    times.unlink(missing_ok=True)
    argv = [programs.find("h2load"), "-t", "1", "-c", str(load.connections), "-m", str(load.streams),
            "-D", f"{round(seconds * 1000)}ms", "--log-file", str(times)]
    path, fields = "/1k", (("authorization", "Bearer of-the-client"),)
    if load.grpc:
        body.write_bytes(h2.message(GRPC_BYTES))
        path, fields = "/unary.grpc", GRPC_FIELDS
        argv += ["-d", str(body)]
    argv += [part for name, value in fields for part in ("-H", f"{name}: {value}")]
    done = subprocess.run([*argv, f"http://{address[0]}:{address[1]}{path}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds + 20)
    # The start in µs, the status, the time to the response in µs; -1 for one that failed.
    lines = [line.split("\t") for line in times.read_text().splitlines()] if times.exists() else []
    took = sorted(int(line[2]) for line in lines if len(line) == 3 and line[1] == "200")
    if not took or len(took) != len(lines):
        said = [line for line in done.stdout.splitlines() if line.startswith(("requests:", "status codes:"))]
        raise Failed(f"of {len(lines)} requests {len(took)} were answered with 200. h2load: "
                     + ("; ".join(said) or done.stderr.strip()))
    return ({"rps": len(took) / seconds, "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}, len(took))


def _requests(load: Load, address: client.Address, seconds: float) -> tuple[dict[str, float], float]:
    """Figures `rps`, `p50` and `p99` (µs); the unit of the CPU figure is a request."""
    host, port = address
    path = load.path or ("/sink" if load.body else "/1k")
    argv = [programs.find("wrk"), "-t", "1", "-c", str(load.connections), "-d", f"{int(seconds) + 2}s", "--timeout", "10s",
            "-H", "Authorization: Bearer of-the-client", "-s", str(SCRIPT)]
    if load.reconnect:
        argv += ["-H", "Connection: close"]
    argv += [f"http://{host}:{port}{path}", "--", "POST" if load.body else "GET", str(load.body), str(load.rate)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True) as process:
        try:
            time.sleep(seconds)
            # wrk takes whole seconds only; interrupted, it stops and reports as if the time were over.
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=15)[0]
        except BaseException:
            process.kill()
            raise
    last = output.strip().splitlines()[-1] if output.strip() else ""
    try:
        said = json.loads(last)
    except ValueError:
        raise Failed(f"wrk: {last or 'no output'}") from None
    if said["requests"] == 0:
        raise Failed("no request was answered")
    if said["bad_status"] or said["failed"]:
        raise Failed(f"of {said['requests']} requests {said['bad_status']} were refused and {said['failed']} failed")
    return ({"rps": said["requests"] / said["duration_us"] * 1e6, "p50": said["p50_us"], "p99": said["p99_us"]},
            said["requests"])
