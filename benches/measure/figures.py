"""The figures: their names and units, which way is better, what is aimed at, and how samples become a median."""
from __future__ import annotations

import statistics
from dataclasses import dataclass, field

BASE = "nginx"
BEST = "best"
VALUE = "value"
DIRECT = "direct"  # the origin itself, without a proxy


@dataclass(frozen=True)
class Goal:
    """What the proxy aims at: a ratio to the peer `against`, or to the best one, or a value of its own."""

    limit: float
    stretch: float
    against: str = BASE  # a peer's name, BEST, or VALUE


@dataclass(frozen=True)
class Figure:
    key: str
    label: str
    digits: int = 1
    goals: tuple[Goal, ...] = ()
    higher_is_better: bool = False
    part: str = "http"


# Names of proxies name their files, and with those their profiles.
ONE_WORKER, TWO_WORKERS = "one-worker", "two-workers"
GO = Goal(0.35, 0.25, "go")
CPU = (Goal(1.0, 0.85), GO)
ADDED = (Goal(1.0, 0.95),)
BULK = (Goal(1.15, 1.3, BEST),)
TLS = (Goal(1.0, 0.9),)
GRPC = (Goal(1.0, 1.0),)
WORKERS = (Goal(1.0, 1.0, ONE_WORKER),)

FIGURES = (
    Figure("c1.cpu", "CPU µs/request, 1 connection", 1, CPU),
    Figure("c50.cpu", "CPU µs/request, 50 connections", 1, CPU),
    Figure("c256.cpu", "CPU µs/request, 256 connections", 1, CPU),
    Figure("new.cpu", "CPU µs/request, new connection each", 1, (Goal(1.05, 1.0), GO)),
    Figure("post.cpu", "CPU µs/request, POST 4 KiB, 50 conns", 1, CPU),
    Figure("rate.cpu", "CPU µs/request, 2,000 req/s", 1, CPU),
    Figure("c1.p50", "p50 µs, 1 connection", 0),
    Figure("c1.p99", "p99 µs, 1 connection", 0),
    Figure("rate.p50", "p50 µs, 2,000 req/s", 0),
    Figure("rate.p99", "p99 µs, 2,000 req/s", 0),
    Figure("c1.p50.added", "p50 µs added, 1 connection", 0, ADDED),
    Figure("c1.p99.added", "p99 µs added, 1 connection", 0, ADDED),
    Figure("rate.p50.added", "p50 µs added, 2,000 req/s", 0, ADDED),
    Figure("rate.p99.added", "p99 µs added, 2,000 req/s", 0, ADDED),
    Figure("c1.rps", "requests/s, 1 connection", 0, higher_is_better=True),
    Figure("c50.rps", "requests/s, 50 connections", 0, higher_is_better=True),
    Figure("c256.rps", "requests/s, 256 connections", 0, higher_is_better=True),
    Figure("new.rps", "requests/s, new connection each", 0, higher_is_better=True),
    Figure("post.rps", "requests/s, POST 4 KiB, 50 conns", 0, higher_is_better=True),
    Figure("rate.rps", "requests/s held, of 2,000", 0, higher_is_better=True),
    Figure("download.mb_s", "download MB/s, 1 stream", 0, BULK, higher_is_better=True),
    Figure("upload.mb_s", "upload MB/s, 1 stream", 0, BULK, higher_is_better=True),
    Figure("download.cpu", "CPU µs/MB, download", 0),
    Figure("upload.cpu", "CPU µs/MB, upload", 0),
    Figure("memory.mb", "idle memory MB (PSS)", 1, (Goal(6, 4, VALUE),)),
    Figure("idle.bytes", "bytes per idle connection", 0, (Goal(2500, 1200, VALUE),)),
    Figure("idle.wakeups", "wake-ups a minute, idle", 0, (Goal(2, 0, VALUE),)),
    Figure("start.ms", "start to first 200, ms", 1, (Goal(1.0, 0.4),)),
    Figure("https.c1.cpu", "CPU µs/request, 1 connection", 1, TLS, part="https"),
    Figure("https.c50.cpu", "CPU µs/request, 50 connections", 1, TLS, part="https"),
    Figure("https.post.cpu", "CPU µs/request, POST 4 KiB, 50 conns", 1, TLS, part="https"),
    Figure("https.new.cpu", "CPU µs/request, new TLS to origin each", 1, TLS, part="https"),
    Figure("https.c1.p50", "p50 µs, 1 connection", 0, part="https"),
    Figure("https.c1.p99", "p99 µs, 1 connection", 0, part="https"),
    Figure("https.c50.rps", "requests/s, 50 connections", 0, higher_is_better=True, part="https"),
    Figure("https.new.rps", "requests/s, new TLS to origin each", 0, higher_is_better=True, part="https"),
    Figure("https.download.mb_s", "download MB/s, 1 stream", 0, higher_is_better=True, part="https"),
    Figure("https.upload.mb_s", "upload MB/s, 1 stream", 0, higher_is_better=True, part="https"),
    Figure("https.download.cpu", "CPU µs/MB, download", 0, part="https"),
    Figure("https.upload.cpu", "CPU µs/MB, upload", 0, part="https"),
    Figure("h2.one.cpu", "CPU µs/request, 1 stream", 1, GRPC, part="h2"),
    Figure("h2.many.cpu", "CPU µs/request, 10 × 10 streams", 1, GRPC, part="h2"),
    Figure("h2.one.p50", "p50 µs, 1 stream", 0, part="h2"),
    Figure("h2.one.p99", "p99 µs, 1 stream", 0, part="h2"),
    Figure("h2.many.rps", "requests/s, 10 × 10 streams", 0, higher_is_better=True, part="h2"),
    Figure("grpc.get.cpu", "CPU µs/request, GET, 10 × 10 streams", 1, GRPC, part="grpc"),
    Figure("grpc.one.cpu", "CPU µs/call, unary, 1 at once", 1, GRPC, part="grpc"),
    Figure("grpc.many.cpu", "CPU µs/call, unary, 10 × 10 at once", 1, GRPC, part="grpc"),
    Figure("grpc.stream.cpu", "CPU µs/message, both ways, 1 stream", 1, GRPC, part="grpc"),
    Figure("grpc.streams.cpu", "CPU µs/message, 10 × 10 streams", 1, GRPC, part="grpc"),
    Figure("grpc.one.p50", "p50 µs, unary, 1 at once", 0, part="grpc"),
    Figure("grpc.one.p99", "p99 µs, unary, 1 at once", 0, part="grpc"),
    Figure("grpc.stream.p50", "p50 µs, message both ways, 1 stream", 0, part="grpc"),
    Figure("grpc.stream.p99", "p99 µs, message both ways, 1 stream", 0, part="grpc"),
    Figure("grpc.get.rps", "requests/s, GET, 10 × 10 streams", 0, higher_is_better=True, part="grpc"),
    Figure("grpc.many.rps", "calls/s, unary, 10 × 10 at once", 0, higher_is_better=True, part="grpc"),
    Figure("grpc.streams.rps", "messages/s, 10 × 10 streams", 0, higher_is_better=True, part="grpc"),
    Figure("workers.rate.p50", "p50 µs, 2,000 req/s", 0, part="workers"),
    Figure("workers.rate.p99", "p99 µs, 2,000 req/s", 0, WORKERS, part="workers"),
    Figure("workers.rate.cpu", "CPU µs/request, 2,000 req/s", 1, part="workers"),
    Figure("workers.c50.p50", "p50 µs, 50 connections", 0, part="workers"),
    Figure("workers.c50.p99", "p99 µs, 50 connections", 0, WORKERS, part="workers"),
    Figure("workers.c50.cpu", "CPU µs/request, 50 connections", 1, part="workers"),
    Figure("workers.c50.rps", "requests/s, 50 connections", 0, higher_is_better=True, part="workers"),
    Figure("allocators.c1.cpu", "CPU µs/request, 1 connection", 1, part="allocators"),
    Figure("allocators.c50.cpu", "CPU µs/request, 50 connections", 1, part="allocators"),
    Figure("allocators.post.cpu", "CPU µs/request, POST 4 KiB, 50 conns", 1, part="allocators"),
    Figure("allocators.memory.mb", "idle memory MB (PSS)", 1, part="allocators"),
    Figure("allocators.idle.bytes", "bytes per idle connection", 0, part="allocators"),
    Figure("allocators.after.mb", "memory MB (PSS) after the load", 1, part="allocators"),
)


@dataclass
class Results:
    """Samples by figure and peer, each under the number of its round."""

    samples: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)

    def add(self, figure: str, peer: str, round_: int, value: float) -> None:
        self.samples.setdefault(figure, {}).setdefault(peer, {})[round_] = value

    def derive_added(self) -> None:
        """What a peer adds to the latency of the origin itself, round by round."""
        for key in [figure.key for figure in FIGURES if figure.key.endswith(".added")]:
            rows = self.samples.get(key.removesuffix(".added"), {})
            direct = rows.get(DIRECT, {})
            for peer, values in rows.items():
                for round_, value in values.items():
                    if peer != DIRECT and round_ in direct:
                        self.add(key, peer, round_, value - direct[round_])

    def values(self, figure: str, peer: str) -> list[float]:
        return list(self.samples.get(figure, {}).get(peer, {}).values())

    def ratios(self, figure: str, peer: str, base: str) -> list[float]:
        """Ratios of the rounds in which both were measured: neighbours in time, so that slow drift cancels out."""
        rows = self.samples.get(figure, {})
        ours, theirs = rows.get(peer, {}), rows.get(base, {})
        return [value / theirs[round_] for round_, value in ours.items() if theirs.get(round_, 0) > 0]

    def best_peer(self, figure: Figure, of: list[str]) -> str | None:
        """The peer among `of` with the best median."""
        medians = {peer: statistics.median(found) for peer in of if (found := self.values(figure.key, peer))}
        if not medians:
            return None
        return (max if figure.higher_is_better else min)(medians, key=lambda peer: medians[peer])


def spread(values: list[float]) -> float:
    """Half the distance between the smallest and the largest, as a share of the median."""
    middle = abs(statistics.median(values))
    return (max(values) - min(values)) / 2 / middle if middle else 0.0
