"""The tables, and the JSON with every sample."""
from __future__ import annotations

import json
import statistics
from pathlib import Path

from .figures import BASE, BEST, DIRECT, FIGURES, VALUE, Figure, Goal, Results, spread

LABEL = 38
CELL = 15
RATIO_CELL = 19


def tables(results: Results, peers: list[str], proxies: list[str]) -> str:
    """Medians, ratios to nginx, and the proxy against what is aimed at."""
    columns = [DIRECT, *peers]
    rows = [figure for figure in FIGURES if figure.key in results.samples]
    lines = ["Medians, ± half the spread between rounds", _row("", columns)]
    for figure in rows:
        lines.append(_row(figure.label, [_median(figure, results.values(figure.key, peer)) for peer in columns]))
    if BASE in peers:
        lines += _ratios(results, rows, peers, BASE)
    if len(proxies) > 1:
        lines += _ratios(results, rows, proxies, proxies[0])
    others = [peer for peer in peers if peer not in proxies]
    for proxy in proxies:
        lines += ["", f"{proxy} against its goals", _row("", ["measured", "goal", "stretch", "reached"], RATIO_CELL)]
        for figure in rows:
            for goal in figure.goals:
                cells = _against_goal(results, figure, goal, proxy, others)
                if cells:
                    lines.append(_row(figure.label, cells, RATIO_CELL))
    return "\n".join(lines)


def write_json(path: Path, results: Results, about: dict) -> None:
    """Every sample by figure and peer, in the order of the rounds, with its median and what was run on what."""
    figures = {}
    for figure in FIGURES:
        rows = results.samples.get(figure.key)
        if rows:
            figures[figure.key] = {
                "label": figure.label, "higher_is_better": figure.higher_is_better,
                "peers": {peer: {"median": statistics.median(values.values()),
                                 "rounds": {str(round_): value for round_, value in sorted(values.items())}}
                          for peer, values in rows.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1, **about, "figures": figures}, indent=1) + "\n")


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
    unit, form = "", ",g"
    if goal.against == VALUE:
        found = results.values(figure.key, proxy)
    else:
        base = results.best_peer(figure, others) if goal.against == BEST else goal.against
        found = results.ratios(figure.key, proxy, base) if base else []
        unit, form = f" × {base}", ".2f"
    if not found:
        return None
    measured = statistics.median(found)
    better = (lambda limit: measured >= limit) if figure.higher_is_better else (lambda limit: measured <= limit)
    reached = "stretch" if better(goal.stretch) else "goal" if better(goal.limit) else "no"
    sign = "≥" if figure.higher_is_better else "≤"
    value = f"{measured:,.1f}" if goal.against == VALUE else f"{measured:.2f}{unit}"
    return [value, f"{sign} {goal.limit:{form}}", f"{sign} {goal.stretch:{form}}", reached]
