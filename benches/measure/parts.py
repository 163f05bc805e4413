"""The parts of a comparison: each a mode, its loads, and who is measured beside whom."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import load, modes
from .figures import ONE_WORKER, TWO_WORKERS
from .peers import Settings


@dataclass(frozen=True)
class Part:
    """One part of a run, with a table of its own."""

    key: str
    title: str
    mode: modes.Mode
    loads: tuple[load.Load, ...]
    share: float  # of the time that all parts have together
    # cognito-proxy in several ways and nothing beside it; otherwise once, beside the peers.
    variants: Callable[[], dict[str, Settings]] | None = None
    # Memory, start-up, idle connections and wake-ups as well, and the origin without a proxy.
    whole: bool = False
    memory: bool = False  # of these memory and idle connections only
    shared_cpus: bool = False  # proxy and load have all CPUs together


# Where Debian and Ubuntu put them, by package.
PRELOADED = {"mimalloc": ("libmimalloc2.0", "libmimalloc.so.2"), "jemalloc": ("libjemalloc2", "libjemalloc.so.2")}
# glibc(3): MALLOC_ARENA_MAX, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ of mallopt(3).
TUNED = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "16384"}


def allocators() -> dict[str, Settings]:
    """The allocators that this machine has: glibc's as it is and as told to be thrifty, and others by LD_PRELOAD."""
    found = {"glibc": Settings(), "glibc-tuned": Settings(env=TUNED)}
    for name, (_, file) in PRELOADED.items():
        if path := library(file):
            found[name] = Settings(env={"LD_PRELOAD": str(path)})
    return found


def library(file: str) -> Path | None:
    """A shared library of the distribution's."""
    return next((path for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib")
                 for path in (Path(folder) / file, *Path(folder).glob(f"*-linux-gnu/{file}")) if path.exists()), None)


def workers() -> dict[str, Settings]:
    return {ONE_WORKER: Settings(), TWO_WORKERS: Settings(workers=2)}


PARTS = (
    Part("http", modes.HTTP.title, modes.HTTP, load.HTTP_LOADS, 0.46, whole=True),
    Part("https", modes.HTTPS.title, modes.HTTPS, load.HTTPS_LOADS, 0.17),
    Part("h2", modes.H2.title, modes.H2, load.H2_LOADS, 0.08),
    Part("grpc", modes.GRPC.title, modes.GRPC, load.GRPC_LOADS, 0.15),
    Part("workers", "One worker and two, on two CPUs shared with the load", modes.HTTP, load.WORKERS_LOADS, 0.05,
     workers, shared_cpus=True),
    Part("allocators", "Allocators", modes.HTTP, load.ALLOCATOR_LOADS, 0.09, allocators, memory=True),
)
