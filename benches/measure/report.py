"""The tables, and the JSON with every sample."""
from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from .figures import BASE, BEST, DIRECT, FIGURES, VALUE, Figure, Goal, Results, spread
from .parts import Part

LABEL = 38
CELL = 15
RATIO_CELL = 19


@dataclass(frozen=True)
class Section:
    """What one part of a run has a table of."""

    part: Part
    peers: list[str]
    commands: set[str]  # the proxies among them, where it is not a part of variants
    rounds: int

    def figures(self, results: Results) -> list[Figure]:
        return [figure for figure in FIGURES if figure.part == self.part.key and figure.key in results.samples]

    def proxies(self) -> list[str]:
        """Those that goals are for."""
        return [peer for peer in self.peers if peer in self.commands or self.part.variants]

    def columns(self) -> list[str]:
        return [DIRECT, *self.peers] if self.part.whole else self.peers

    def base(self) -> str | None:
        """What ratios are to: nginx, or the first of the variants."""
        base = self.peers[0] if self.part.variants and self.peers else BASE
        return base if base in self.peers else None


def tables(results: Results, sections: list[Section]) -> str:
    """Part by part: medians, ratios to nginx, and the proxy against what is aimed at."""
    lines = []
    for section in sections:
        rows, peers, proxies = section.figures(results), section.peers, section.proxies()
        lines += ["", section.part.title, "", "Medians, ± half the spread between rounds", _row("", section.columns())]
        for figure in rows:
            cells = [_median(figure, results.values(figure.key, peer)) for peer in section.columns()]
            lines.append(_row(figure.label, cells))
        if section.base():
            lines += _ratios(results, rows, peers, section.base())
        if len(proxies) > 1 and not section.part.variants:
            lines += _ratios(results, rows, proxies, proxies[0])
        others = [peer for peer in peers if peer not in proxies]
        for proxy in proxies:
            goals = [(figure.label, cells) for figure in rows for goal in figure.goals
                     if (cells := _against_goal(results, figure, goal, proxy, others))]
            if goals:
                lines += ["", f"{proxy} against its goals",
                          _row("", ["measured", "goal", "stretch", "reached"], RATIO_CELL)]
                lines += [_row(label, cells, RATIO_CELL) for label, cells in goals]
    return "\n".join(lines).lstrip()


def markdown(results: Results, sections: list[Section], about: dict) -> str:
    """The same as Markdown: a table for each part, each figure with its goals."""
    machine = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(about["versions"].items()))
    lines = [f"{about['at'][:10]}, {about['commit']}: {machine['cpu']}, {machine['cpus']} CPUs, "
             f"Linux {machine['kernel']}; {versions}. Token of {about['token_bytes']} bytes."]
    for section in sections:
        proxies, base = section.proxies(), section.base()
        others = [peer for peer in section.peers if peer not in proxies]
        against = [peer for peer in proxies if peer != base]
        head = ["", *section.columns(), *([f"{peer} ÷ {base}" for peer in against] if base else []), "goal", "reached"]
        lines += ["", f"### {section.part.title}", "",
                  f"Medians of {section.rounds} rounds, ± half the spread; ratios are medians of the rounds' ratios.",
                  "",
                  _cells(head), _cells(["---", *["---:"] * (len(head) - 3), "---", "---"])]
        for figure in section.figures(results):
            goals = [(goal, cells) for goal in figure.goals for peer in proxies
                     if (cells := _against_goal(results, figure, goal, peer, others))]
            medians = [_median(figure, results.values(figure.key, peer)) for peer in section.columns()]
            lines.append(_cells([
                figure.label, *(" ".join(median.split()) for median in medians),
                *([_ratio(results.ratios(figure.key, peer, base)) for peer in against] if base else []),
                "; ".join(dict.fromkeys(cells[1] for _, cells in goals)),
                "; ".join(cells[3] for _, cells in goals)]))
    return "\n".join(lines) + "\n"


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_json(path: Path, results: Results, about: dict) -> None:
    """Every sample by figure and peer, in the order of the rounds, with its median and what was run on what."""
    figures = {}
    for figure in FIGURES:
        rows = results.samples.get(figure.key)
        if rows:
            figures[figure.key] = {
                "part": figure.part, "label": figure.label, "higher_is_better": figure.higher_is_better,
                "peers": {peer: {"median": statistics.median(values.values()),
                                 "rounds": {str(round_): value for round_, value in sorted(values.items())}}
                          for peer, values in rows.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 2, **about, "figures": figures}, indent=1) + "\n")


def _row(label: str, cells: list[str], width: int = CELL) -> str:
    return label.ljust(LABEL) + "".join(cell.rjust(width) for cell in cells)


def _median(figure: Figure, values: list[float]) -> str:
    if not values:
        return "–"
    text = f"{statistics.median(values):,.{figure.digits}f}"
    return text + (f" ±{spread(values):4.0%}" if len(values) > 1 else "      ")


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f}" + (f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else "")


def _ratios(results: Results, rows: list[Figure], peers: list[str], base: str) -> list[str]:
    lines = ["", f"Ratio to {base}: median of the rounds' ratios (smallest–largest)", _row("", peers, RATIO_CELL)]
    for figure in rows:
        cells = [_ratio(results.ratios(figure.key, peer, base)) for peer in peers]
        lines.append(_row(figure.label, cells, RATIO_CELL))
    return lines


def _against_goal(results: Results, figure: Figure, goal: Goal, proxy: str, others: list[str]) -> list[str] | None:
    """The cells of one goal; None where the proxy, or what it is held against, was not measured."""
    base, unit, form = None, "", ",g"
    if goal.against == VALUE:
        found = results.values(figure.key, proxy)
    else:
        base = results.best_peer(figure, others) if goal.against == BEST else goal.against
        found = results.ratios(figure.key, proxy, base) if base else []
        unit, form = f" × {base}", ".2f"
    if not found or base == proxy:
        return None
    measured = statistics.median(found)
    better = (lambda limit: measured >= limit) if figure.higher_is_better else (lambda limit: measured <= limit)
    reached = "no" if not better(goal.limit) else "stretch" if goal.stretch != goal.limit and better(goal.stretch) else "goal"
    sign = "≥" if figure.higher_is_better else "≤"
    value = f"{measured:,.1f}" if goal.against == VALUE else f"{measured:.2f}{unit}"
    return [value, f"{sign} {goal.limit:{form}}", f"{sign} {goal.stretch:{form}}", reached]
