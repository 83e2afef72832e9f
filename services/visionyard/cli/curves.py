"""The curves of a training as text: losses and metrics over epochs, drawn with Braille dots, two across and four down in each character."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visionyard.training.v1 import training_report_pb2

_BLANK = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot, by column and row (Unicode 15, "Braille Patterns", U+2800)."""
_ACROSS, _DOWN = 2, 4
_LABEL = 8
HEIGHT = 7
_LEAST_WIDTH = 16
_GAP = "  "

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points (epoch, value) by name."""


@dataclass(frozen=True)
class Cell:
    """A run of characters of one line.

    Attributes:
        text: The characters.
        series: Which series they draw, from 0; -1 for what is no curve.
    """

    text: str
    series: int = -1


def series_of(epochs: Sequence[training_report_pb2.EpochFigures]) -> dict[str, Series]:
    """What is drawn of a training, by title: the sums of its losses, and its mAP or accuracy."""
    losses: dict[str, list[tuple[float, float]]] = {}
    metrics: dict[str, list[tuple[float, float]]] = {}
    for row in epochs:
        for kind in ("train", "val"):
            parts = [value for key, value in row.values.items() if key.startswith(f"{kind}/")]
            if parts:
                losses.setdefault(kind, []).append((row.epoch, sum(parts)))
        for key, value in sorted(row.values.items()):
            if key.startswith(("metrics/mAP", "metrics/accuracy")):
                metrics.setdefault(key.partition("/")[2], []).append((row.epoch, value))
    return {title: series for title, series in (("loss", losses), ("metrics", metrics)) if series}


def plot(title: str, series: Series, width: int, height: int = HEIGHT) -> list[list[Cell]]:
    """A plot of so many characters across: a line with names and last values, then ``height`` lines of curves, then the epochs.

    Args:
        title: What it shows.
        series: What to draw; of a later one the dots win.
        width: Characters across, with eight for the labels.
        height: Lines for the curves.
    """
    inner = max(width - _LABEL, _LEAST_WIDTH)
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    left, right, low, high = min(xs), max(xs), min(0.0, *ys), max(ys)
    high = high if high > low else low + 1
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    for number, points in enumerate(series.values()):
        for column, row in _dots(points, (left, right), (low, high), inner * _ACROSS, height * _DOWN):
            at = row // _DOWN, column // _ACROSS
            bits = owners.get(at, (0, number))[0]
            owners[at] = bits | _DOTS[column % _ACROSS][row % _DOWN], number
    names = [Cell(f"{title}:".ljust(_LABEL))]
    names += [Cell(f" {name} {points[-1][1]:.3g}", number) for number, (name, points) in enumerate(series.items())]
    lines = [_fitted(names, _LABEL + inner)]
    for row in range(height):
        label = f"{high:.3g}" if row == 0 else f"{low:.3g}" if row == height - 1 else ""
        drawn = [owners.get((row, column), (0, -1)) for column in range(inner)]
        runs = itertools.groupby(drawn, key=lambda dots: dots[1])
        cells = [Cell("".join(chr(_BLANK + bits) for bits, _ in run), number) for number, run in runs]
        lines.append([Cell(f"{label:>{_LABEL - 1}} "), *cells])
    first, last = f"{left:g}", f"epoch {right:g}"
    lines.append([Cell(" " * _LABEL + first + last.rjust(inner - len(first)))])
    return lines


def _dots(
    points: Sequence[tuple[float, float]], across: tuple[float, float], down: tuple[float, float], columns: int, rows: int
) -> list[tuple[int, int]]:
    """The dots of a curve with straight lines between its points, as (column, row) from the top left."""

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - across[0]) / (across[1] - across[0]) if across[1] > across[0] else 0.5
        return share * (columns - 1), (1 - (y - down[0]) / (down[1] - down[0])) * (rows - 1)

    placed = [place(x, y) for x, y in points]
    dots = [(round(x), round(y)) for x, y in placed]
    for (x0, y0), (x1, y1) in itertools.pairwise(placed):
        steps = max(1, round(max(abs(x1 - x0), abs(y1 - y0))))
        dots += [(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)) for step in range(steps)]
    return dots


def _fitted(cells: Sequence[Cell], width: int) -> list[Cell]:
    """The cells for which there is room, filled up to the width."""
    kept, room = [], width
    for cell in cells:
        if len(cell.text) > room:
            break
        kept.append(cell)
        room -= len(cell.text)
    return [*kept, Cell(" " * room)]


def side_by_side(epochs: Sequence[training_report_pb2.EpochFigures], columns: int) -> list[list[Cell]]:
    """All plots of a training beside each other, or below each other where the terminal is narrow; empty before the first epoch."""
    found = series_of(epochs)
    if not found:
        return []
    narrow = columns < len(found) * (_LABEL + _LEAST_WIDTH + len(_GAP))
    width = columns - 1 if narrow else columns // len(found) - len(_GAP)
    plots = [plot(title, series, width) for title, series in found.items()]
    if narrow:
        return [line for drawn in plots for line in drawn]
    return [[cell for part in parts for cell in (*part, Cell(_GAP))] for parts in zip(*plots, strict=True)]
