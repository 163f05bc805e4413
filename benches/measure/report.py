"""The tables, and the JSON with every sample."""
from __future__ import annotations

import json
import statistics
from pathlib import Path

from .figures import BASE, DIRECT, FIGURES, Figure, Results, spread

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
        lines += ["", "Ratio to nginx: median of the rounds' ratios (smallest–largest)", _row("", peers, RATIO_CELL)]
        for figure in rows:
            cells = [_ratio(results.ratios(figure.key, peer, BASE)) for peer in peers]
            lines.append(_row(figure.label, cells, RATIO_CELL))
    others = [peer for peer in peers if peer not in proxies]
    for proxy in proxies:
        lines += ["", f"{proxy} against the goals", _row("", ["measured", "goal", "stretch", "reached"])]
        for figure in rows:
            cells = _against_goal(results, figure, proxy, others)
            if cells:
                lines.append(_row(figure.label, cells))
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


def _against_goal(results: Results, figure: Figure, proxy: str, others: list[str]) -> list[str] | None:
    if figure.goal is None:
        return None
    if figure.against == "value":
        found, unit = results.values(figure.key, proxy), ""
    else:
        base = BASE if figure.against == BASE else results.best_peer(figure, others)
        found = results.ratios(figure.key, proxy, base) if base else []
        unit = f" × {base}"
    if not found:
        return None
    measured = statistics.median(found)
    better = (lambda limit: measured >= limit) if figure.higher_is_better else (lambda limit: measured <= limit)
    reached = "stretch" if better(figure.stretch) else "goal" if better(figure.goal) else "no"
    sign = "≥" if figure.higher_is_better else "≤"
    if figure.against == "value":
        return [f"{measured:,.1f}", f"{sign} {figure.goal:,g}", f"{sign} {figure.stretch:,g}", reached]
    return [f"{measured:.2f}{unit}", f"{sign} {figure.goal:.2f}", f"{sign} {figure.stretch:.2f}", reached]
