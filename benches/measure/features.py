"""What each check and each setting costs a request, as the difference between with and without it.

What the configuration cannot leave out is read off the profile: what a function costs with all that it calls.
"""
from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .cases import CASES, Case
from .peers import Peer, Settings
from .tools import inclusive

LABEL = 62
# What the compiler adds to a name, and callgrind to one in a cycle.
HASH = r"(::h[0-9a-f]{16})?('\d+)?$"


@dataclass(frozen=True)
class Feature:
    """A setting, as the environment states it. A `usual` one is on in the proxy that is measured, and this turns it off."""

    title: str
    environment: dict[str, str]
    case: str = "one"
    usual: bool = False


def _set(key: str, value: str) -> dict[str, str]:
    return {"COGNITO_PROXY_" + key.upper().replace(".", "__"): value}


FEATURES = (
    Feature("nothing, one request again: what differs by itself", {}),
    Feature("nothing, one connection again", {}, "new"),
    Feature("peer check (guard.users), each connection", _set("guard.users", '["any"]'), "new", usual=True),
    Feature("a token of 1.2 kB in each request (inject)",
            {"COGNITO_PROXY_ROUTE": '[{path = "/1k", inject = false}]'}, usual=True),
    Feature("ten pages that may call (guard.origins)",
            _set("guard.origins", "[" + ", ".join(f'"http://localhost:{port}"' for port in range(3000, 3010)) + "]")),
    Feature("a header that has to be there (guard.require_header)", _set("guard.require_header", '"Host"')),
    Feature("ten routes that do not match",
            {"COGNITO_PROXY_ROUTE": "[" + ", ".join(f'{{path = "/route-{number}"}}' for number in range(10)) + "]"}),
    Feature("X-Forwarded-* and Forwarded (upstream.forwarded)", _set("upstream.forwarded", "true")),
    Feature("session header (warn.response_header)", _set("warn.response_header", '"on"')),
    Feature("idle lock (session.idle_lock)", _set("session.idle_lock", '"1h"')),
    Feature("access log, one line as JSON (log.access)", _set("log.access", '"on"')),
)

# By the end of their names, whatever the compiler has made of the rest.
FUNCTIONS = (
    ("all that is done for a connection", "server::connection::serve_connection::{{closure}}", "one"),
    ("of that, the request's way through the proxy", "proxy::worker::Proxy::forward::{{closure}}", "one"),
    ("of that, sending it and hearing the response's head", "proxy::forward::send::{{closure}}", "one"),
    ("guard: Host, Origin, Fetch Metadata, key", "guard::check::Guard::check", "one"),
    ("guard: what is sealed in the response", "guard::check::Guard::seal", "one"),
    ("peer look-up, each connection", "guard::peer::Resolver::tcp", "new"),
    ("head made the upstream's", "proxy::inject::head", "one"),
    ("of that, hop-by-hop fields", "proxy::hop::strip_request", "one"),
    ("response head made the client's", "proxy::respond::headers", "one"),
    ("status counters and histogram", "metrics::Shard::responded", "one"),
)


def table(build: Callable[..., Peer], count: Callable[[Peer, list[Case]], dict[str, dict]], directory: Path) -> None:
    """Prints what each costs. `build` makes a proxy of a name and settings, `count` counts it."""
    cases = {case.key: case for case in CASES}
    plain = count(build(name="plain"), [cases["one"], cases["new"]])
    print(f"\n{'what it costs':{LABEL}}{'instructions':>14}{'allocations':>13}{'system calls':>14}")
    print(_row("a request, all checks and settings as usual", plain["one"]))
    print(_row("a connection with one request", plain["new"]))
    for number, feature in enumerate(FEATURES):
        peer = build(name=f"feature-{number}", settings=Settings(env=feature.environment))
        changed = count(peer, [cases[feature.case]])
        sign = -1 if feature.usual else 1
        print(_row(feature.title, {
            key: sign * (changed[feature.case][key] - plain[feature.case][key])
            for key in ("instructions", "allocations", "syscalls") if key in plain[feature.case]}), flush=True)
    _functions(cases, directory)


def _functions(cases: dict[str, Case], directory: Path) -> None:
    base = inclusive(directory / "plain.http.0.callgrind")
    print(f"\n{'of the usual, by function':{LABEL}}{'instructions':>14}")
    unseen = []
    for title, name, key in FUNCTIONS:
        with_ = inclusive(directory / f"plain.{key}.callgrind")
        found = _of(with_, name) - _of(base, name)
        if found:
            print(f"{title:{LABEL}}{found / cases[key].requests:14,.0f}")
        else:
            unseen.append(title)
    if unseen:
        print(f"without a name in this program, or part of another function: {', '.join(unseen)}")


def _of(costs: Counter, name: str) -> int:
    """The instructions of functions of that name, less the hash or the cycle number after it."""
    return sum(cost for function, cost in costs.items() if re.sub(HASH, "", re.sub("[<>]", "", function)).endswith(name))


def _row(title: str, found: dict[str, float]) -> str:
    text = f"{title:{LABEL}}"
    for key, width, digits in (("instructions", 14, 0), ("allocations", 13, 2), ("syscalls", 14, 2)):
        # Without a minus before a zero.
        text += f"{round(found[key], digits) + 0:{width},.{digits}f}" if key in found else " " * width
    return text
