"""Child processes: started on given CPUs, measured through /proc, stopped by their own process ids."""
from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """Something that was to be measured did not work; the text is for the user."""


def wait_for(condition, seconds: float, pause: float = 0.002) -> bool:
    """Calls `condition` until it is true or `seconds` are over; says which."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


class Child:
    """A process and all that it forks.

    It runs in a session of its own: an interrupt at the terminal reaches this script, which then stops its children.
    """

    def __init__(self, argv: list[str], cpus: set[int], log: Path, env: dict[str, str] | None = None, stdout=None):
        self.log = log
        self.known: set[tuple[int, int]] = set()  # (process id, start time) of descendants
        own = os.sched_getaffinity(0)
        with open(log, "ab") as output:
            # The affinity is inherited: no wrapper program runs before the peer, whose start is timed.
            os.sched_setaffinity(0, cpus)
            try:
                self.started = time.perf_counter()
                self.process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=stdout or output, stderr=output, env=env,
                    start_new_session=True)
            except OSError as error:
                raise Failed(f"{argv[0]}: {error.strerror}") from error
            finally:
                os.sched_setaffinity(0, own)

    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """The last lines of its output, for an error message."""
        text = self.log.read_text(errors="replace").strip()
        return "\n    ".join(text.splitlines()[-5:]) or "(no output)"

    def tree(self) -> list[int]:
        """Its process id and those of its descendants; nothing once it has ended, when another may have the id."""
        if not self.alive():
            return []
        children: dict[int, list[tuple[int, int]]] = {}
        for pid, parent, start in _processes():
            children.setdefault(parent, []).append((pid, start))
        found = [self.process.pid]
        for pid in found:
            self.known.update(children.get(pid, []))
            found.extend(child for child, _ in children.get(pid, []))
        return found

    def cpu_ns(self) -> int:
        """CPU time that all its threads have used so far.

        From schedstat, which the scheduler keeps in nanoseconds; what a thread used that has ended is not in it.
        """
        total = 0
        for pid in self.tree():
            for task in _tasks(pid):
                total += int((_read(task / "schedstat") or "0").split()[0])
        return total

    def sleeps(self) -> dict[str, int]:
        """How often each of its threads has gone to sleep so far, which is how often it was woken."""
        found = {}
        for pid in self.tree():
            for task in _tasks(pid):
                for line in (_read(task / "status") or "").splitlines():
                    if line.startswith("voluntary_ctxt_switches:"):
                        found[task.name] = int(line.split()[1])
        return found

    def pss_bytes(self) -> int:
        """Proportional set size of all its processes."""
        total = 0
        for pid in self.tree():
            for line in (_read(Path(f"/proc/{pid}/smaps_rollup")) or "").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self, seconds: float = 5.0) -> None:
        """SIGTERM, then SIGKILL to whatever of it is left after `seconds`."""
        if self.tree():
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, _, start in list(_processes()):
            # The start time tells a descendant from a later process with its id.
            if (pid, start) in self.known:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def busy_ns(cpu: int) -> int:
    """Time that a CPU has spent on anything so far (/proc/stat: user, nice, system, irq, softirq, steal)."""
    ticks = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            field = [int(x) for x in line.split()[1:]]
            return sum(field[i] for i in (0, 1, 2, 5, 6, 7)) * 1_000_000_000 // ticks
    return 0


def two_cores(allowed: set[int]) -> tuple[int, int]:
    """A CPU for the proxy and one of another core for load and origin; the same one twice where there is one only."""
    proxy = min(allowed)
    siblings = _read(Path(f"/sys/devices/system/cpu/cpu{proxy}/topology/thread_siblings_list")) or str(proxy)
    shared: set[int] = set()
    for part in siblings.strip().split(","):
        first, _, last = part.partition("-")
        shared |= set(range(int(first), int(last or first) + 1))
    others = sorted(allowed - shared) or sorted(allowed - {proxy}) or [proxy]
    return proxy, others[0]


def _processes():
    """Yields (process id, parent's id, start time) of every process."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _read(Path(f"/proc/{entry}/stat"))
            if stat:
                # The name in parentheses may hold anything, blanks and parentheses too.
                field = stat.rpartition(")")[2].split()
                yield int(entry), int(field[1]), int(field[19])


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _read(path: Path) -> str | None:
    """A file of /proc; None where the process has ended in the meantime."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
