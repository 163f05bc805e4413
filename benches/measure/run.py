"""One part of a run: which proxies are measured, in which phases, and what came of it."""
from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time

from . import client, load, peers
from .figures import DIRECT, Results
from .parts import Part
from .processes import Failed

DIRECT_LOADS = ("c1", "rate", "download", "upload")  # what the origin itself is measured with
OVERHEAD = 0.15  # seconds of one measurement beside the load itself
SHORTEST, LONGEST = 0.3, 3.0  # seconds of load in one measurement
TOKEN_LENGTH = 1200  # of the peers' token, where no proxy is there whose token shows the length


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)


class Run:
    """One part: the proxies that are measured, and what came of it."""

    def __init__(self, options: argparse.Namespace, part: Part, results: Results, stack: contextlib.ExitStack):
        self.options, self.part, self.results, self.stack = options, part, results, stack
        self.site: peers.Site | None = None
        self.deadline = 0.0
        self.peers: list[peers.Peer] = []
        self.all_peers: list[peers.Peer] = []  # those that were given up as well
        self.origin: peers.Origin | None = None
        self.failures: list[str] = []
        self.foreign: list[float] = []

    def carry_out(self, seconds: float) -> int:
        """Measures everything that belongs to the part, in about so many seconds; returns the complete rounds."""
        self.deadline = time.monotonic() + seconds
        if not self.peers:
            raise Failed("there is nobody to measure")
        self.start_origin()
        self.learn_token()
        if self.part.whole or self.part.memory:
            self.stop_origin()
            self.idle_memory()
            self.start_origin()
        if self.part.whole:
            self.start_times()
        self.start_all()
        if self.part.whole or self.part.memory:
            self.idle_connections()
        complete = self.rounds()
        if self.part.memory:
            self.memory_after()
        for peer in self.peers:
            peer.stop()
        self.stop_origin()
        return complete

    def fail(self, text: object) -> None:
        self.failures.append(f"{self.part.key}: {text}")
        say(f"FAILED: {text}")

    def drop(self, peer: peers.Peer, why: object) -> None:
        """Goes on without a peer that does not work."""
        self.fail(why)
        peer.stop()
        self.peers.remove(peer)

    def start_origin(self) -> None:
        self.origin = peers.Origin(self.site)
        self.stack.callback(self.origin.stop)

    def stop_origin(self) -> None:
        if self.origin:
            self.origin.stop()

    def add(self, make, *arguments) -> None:
        try:
            peer = make(self.site, *arguments)
        except (Failed, subprocess.TimeoutExpired) as error:
            self.fail(error)
            return
        self.peers.append(peer)
        self.all_peers.append(peer)
        self.stack.callback(peer.stop)

    def learn_token(self) -> None:
        """The peers' token gets the length of the one that the proxy injects."""
        length = TOKEN_LENGTH
        for peer in [peer for peer in self.peers if peer.own_token]:
            try:
                peer.start(self.site.answers)
                length = peers.token_length(peer)
            except (Failed, OSError) as error:
                self.drop(peer, error)
            peer.stop()
        self.site.token = ("e30." + "x" * length)[:length]

    def idle_memory(self) -> None:
        """Each alone, the origin not running either: nothing else maps the same program."""
        for peer in list(self.peers):
            try:
                peer.start(client.accepts)
                time.sleep(1.0)
                self.results.add(self.key("memory.mb"), peer.name, 1, peer.child.pss_bytes() / 1e6)
            except Failed as error:
                self.drop(peer, error)
                continue
            peer.stop()

    def start_times(self) -> None:
        for round_ in range(1, self.options.starts + 1):
            for peer in list(self.peers):
                try:
                    seconds = peer.start(client.answers, 0.0005)
                    self.results.add("start.ms", peer.name, round_, seconds * 1e3)
                except Failed as error:
                    self.drop(peer, error)
                    continue
                peer.stop()

    def start_all(self) -> None:
        for peer in list(self.peers):
            try:
                peer.start(self.site.answers)
                peer.prove()
            except (Failed, OSError) as error:
                self.drop(peer, error)

    def idle_connections(self) -> None:
        """All at once, since idle peers do not disturb each other: memory by connection, then wake-ups without any."""
        time.sleep(1.0)
        count, held, before = self.options.idle_connections, [], {}
        for peer in list(self.peers):
            try:
                before[peer.name] = peer.child.pss_bytes()
                held += client.idle_connections(peer.address, count)
            except (Failed, OSError) as error:
                self.drop(peer, f"{peer.name}, {count} idle connections: {error}")
        time.sleep(2.5)
        for peer in self.peers:
            grown = peer.child.pss_bytes() - before[peer.name]
            self.results.add(self.key("idle.bytes"), peer.name, 1, grown / count)
        for connection in held:
            connection.close()
        time.sleep(1.5)
        if not self.part.whole:
            return
        woken = {peer.name: peer.child.sleeps() for peer in self.peers}
        time.sleep(self.options.idle_seconds)
        for peer in self.peers:
            before, after = woken[peer.name], peer.child.sleeps()
            # A thread that has ended was woken for that.
            ended = len(before.keys() - after.keys())
            grown = ended + sum(count - before.get(thread, 0) for thread, count in after.items())
            self.results.add("idle.wakeups", peer.name, 1, grown * 60 / self.options.idle_seconds)

    def memory_after(self) -> None:
        time.sleep(2.5)
        for peer in self.peers:
            self.results.add(self.key("after.mb"), peer.name, 1, peer.child.pss_bytes() / 1e6)

    def key(self, figure: str) -> str:
        """Figures that are those of the comparison with other proxies have no part before their name."""
        return figure if self.part.whole else f"{self.part.key}.{figure}"

    def rounds(self) -> int:
        """Interleaves: every load on every peer in turn, then all of it again. Returns the rounds that were complete."""
        direct = DIRECT_LOADS if self.part.whole else ()
        if not self.peers:
            raise Failed("there is nobody left to measure")
        pairs = len(self.part.loads) * len(self.peers) + len(direct)
        seconds = (self.deadline - time.monotonic()) / (self.options.rounds * pairs) - OVERHEAD
        seconds = min(max(seconds, SHORTEST), LONGEST)
        say(f"{self.part.key}: {self.options.rounds} rounds, each of {pairs} measurements, {seconds:.1f} s each")
        for peer in self.peers:
            self.sample(self.part.loads[1], peer, 0, 0.2)
        for round_ in range(1, self.options.rounds + 1):
            # Another one is the first in each round, so that none is always measured after the same neighbour.
            turn = round_ % max(1, len(self.peers))
            order = self.peers[turn:] + self.peers[:turn]
            for kind in self.part.loads:
                for peer in ([None] if kind.key in direct else []) + order:
                    if time.monotonic() + seconds > self.deadline + 5:
                        say("out of time: the last round is not complete")
                        return round_ - 1
                    self.sample(kind, peer, round_, seconds)
            say(f"{self.part.key}: round {round_} of {self.options.rounds} done")
        return self.options.rounds

    def sample(self, kind: load.Load, peer: peers.Peer | None, round_: int, seconds: float) -> None:
        """One measurement; `peer` is None for the origin itself. Round 0 is a warm-up and not kept."""
        name = peer.name if peer else DIRECT
        try:
            if peer and not peer.child.alive():
                raise Failed(f"it has ended:\n    {peer.child.said()}")
            sample = load.measure(kind, peer.address if peer else self.site.origin, peer.child if peer else None,
                                  min(self.site.proxy_cpus), self.site.scratch, seconds)
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            self.fail(f"{name}, {kind.key}, round {round_}: {error}")
            return
        if round_:
            if peer and self.site.proxy_cpus != self.site.load_cpus:
                self.foreign.append(sample.foreign)
            for figure, value in sample.figures.items():
                self.results.add(f"{kind.key}.{figure}", name, round_, value)
