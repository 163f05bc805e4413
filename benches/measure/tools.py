"""The tools that count: how a program is run under them, and what their output says."""
from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign"}
# What the kernel may say one time more or less: how requests are bundled decides, not the program.
UNSTEADY = {"epoll_wait", "epoll_pwait", "futex", "restart_syscall", "clock_nanosleep"}


def callgrind(directory: Path, name: str) -> tuple[list[str], Path]:
    output = directory / f"{name}.callgrind"
    return [sys.executable, str(Path(__file__).with_name("auxv.py")), "valgrind", "-q", "--tool=callgrind",
            "--trace-children=yes", f"--callgrind-out-file={output}.%p"], output


def strace(directory: Path, name: str) -> tuple[list[str], Path]:
    output = directory / f"{name}.strace"
    return ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", str(output)], output


def read_callgrind(output: Path) -> dict[str, float]:
    """Instructions and allocations of all processes of one run."""
    instructions = allocations = 0
    for path in output.parent.glob(output.name + ".*"):
        for function, cost, calls in _records(path):
            instructions += 0 if calls else cost
            if calls and function.split("'")[0].split("@")[0] in ALLOCATORS:
                allocations += calls
    return {"instructions": instructions, "allocations": allocations}


def inclusive(output: Path) -> Counter:
    """Instructions by function, with those of whatever it called."""
    costs: Counter = Counter()
    for path in output.parent.glob(output.name + ".*"):
        caller = ""
        for function, cost, calls in _records(path):
            # A call's record stands among those of the caller, whose own record came before it.
            if calls:
                costs[caller] += cost
            else:
                caller = function
                costs[caller] += cost
    return costs


def _records(path: Path):
    """(function, its own instructions, 0) of each line; (callee, instructions with all that it calls, calls) of a call."""
    names: dict[str, str] = {}
    function, callee, calls = "", "", 0
    with open(path, errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                number, _, name = line.partition("=")[2].strip().partition(" ")
                name = names.setdefault(number, name)
                if line.startswith("fn="):
                    function = name
                    # So that a caller whose first line is a call is known.
                    yield function, 0, 0
                else:
                    callee = name
            elif line.startswith("calls="):
                calls = int(line[6:].split()[0])
            elif line[:1] in "+-*0123456789" and len(fields := line.split()) >= 2:
                if calls:
                    yield callee, int(fields[1]), calls
                    calls = 0
                else:
                    yield function, int(fields[1]), 0


def read_strace(output: Path) -> dict[str, float]:
    counts = {}
    for line in output.read_text().splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0].isdigit() and fields[1] != "total":
            counts[fields[1]] = int(fields[0])
    return counts


# None, to make the requests alone.
TOOLS = {"valgrind": (callgrind, read_callgrind), "strace": (strace, read_strace),
         "none": (lambda directory, name: ([], directory / name), lambda output: {})}
