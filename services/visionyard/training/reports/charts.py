"""The numbers behind a report's charts; the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 300, 180
"""Of a chart's plane, in units of its viewBox."""
_TICKS = 5
_NICE = (1, 2, 2.5, 5, 10)
_MAX_CHARTS = 16
_MATRIX_CLASSES = 20
NAMED_PHASES = {
    "start": "starting",
    "fetch": "fetching the dataset",
    "data": "waiting for batches",
    "training": "forward and backward",
    "validation": "validation",
    "saving": "saving and uploading",
}
"""What people call the phases of :data:`.phases.PHASES`."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: For the legend.
        points: ``x,y x,y ...`` in units of the plane, y downwards.
        last: The last value, for people.
    """

    name: str
    points: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A chart of lines.

    Attributes:
        title: What it shows.
        lines: At most a few.
        x_ticks: Labels, and where they stand.
        y_ticks: Likewise, y downwards.
        x_title: What x is.
        mark: Where a vertical line stands, the best epoch; None for none.
    """

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[str, float], ...]
    y_ticks: tuple[tuple[str, float], ...]
    x_title: str
    mark: float | None = None


def nice_ticks(low: float, high: float, at_most: int = _TICKS) -> list[float]:
    """Round numbers from ``low`` or below to ``high`` or above, evenly spaced."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / at_most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _NICE if power * factor >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(step * at, 12) for at in range(first, last + 1)]


def line_chart(
    title: str, series: Mapping[str, Sequence[Point]], x_title: str, *, unit_range: bool = False, mark: float | None = None
) -> Chart:
    """A chart of several series of (x, y).

    Args:
        title: What it shows.
        series: By name.
        x_title: What x is.
        unit_range: Whether y goes from 0 to 1.
        mark: An x to be marked.
    """
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    y_values = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] if unit_range else nice_ticks(min(0.0, *ys), max(ys))
    left, right = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, max(xs) + 0.5)
    low, high = y_values[0], y_values[-1]

    def across(x: float) -> float:
        return round((x - left) / (right - left) * WIDTH, 2)

    def down(y: float) -> float:
        return round(HEIGHT - (min(max(y, low), high) - low) / (high - low) * HEIGHT, 2)

    whole = all(float(x).is_integer() for x in xs)
    ticks = [tick for tick in nice_ticks(left, right) if left <= tick <= right and (not whole or float(tick).is_integer())]
    lines = [
        Line(name, " ".join(f"{across(x)},{down(y)}" for x, y in points), f"{points[-1][1]:.4g}")
        for name, points in series.items()
        if points
    ]
    return Chart(
        title,
        tuple(lines),
        tuple((f"{tick:g}", across(tick)) for tick in ticks),
        tuple((f"{tick:g}", down(tick)) for tick in y_values),
        x_title,
        across(mark) if mark is not None and left <= mark <= right else None,
    )


def epoch_charts(rows: Sequence[tuple[int, Mapping[str, float]]], best_epoch: int) -> list[Chart]:
    """Losses (of training and validation in one chart each), metrics, learning rates, over epochs; at most 16 charts."""
    groups: dict[str, dict[str, list[Point]]] = {}
    for epoch, values in rows:
        for key, value in values.items():
            title, name = _place(key)
            if title:
                groups.setdefault(title, {}).setdefault(name, []).append((epoch, value))
    order = sorted(groups, key=lambda title: (not title.startswith("metrics"), title.startswith("learning")))
    return [
        line_chart(title, groups[title], "epoch", unit_range=title.startswith("metrics"), mark=best_epoch or None)
        for title in order[:_MAX_CHARTS]
    ]


def _place(key: str) -> tuple[str, str]:
    """The chart and the line of a column of ``results.csv``; empty where it is not drawn."""
    kind, _, what = key.partition("/")
    if kind in {"train", "val"}:
        return what.replace("_", " "), kind
    if kind == "metrics":
        name, bracket, part = what.partition("(")
        of = {"B": " of boxes", "M": " of masks", "P": " of poses"}.get(part.rstrip(")"), "") if bracket else ""
        return f"metrics{of}", name.replace("accuracy_", "")
    if kind == "lr":
        return "learning rate", what
    return "", ""


def pr_chart(findings: Mapping[str, Any]) -> Chart | None:
    """Precision over recall, the mean of all classes and at most five more; None where there is none."""
    names = [row["name"] for row in findings["classes"]]
    series: dict[str, list[Point]] = {}
    for curve in findings["pr_curves"][:6]:
        points = [(at / (len(curve["precision"]) - 1), value) for at, value in enumerate(curve["precision"])]
        label = "all classes" if curve["class_id"] < 0 else str(names[curve["class_id"]])
        series[label if label not in series else f"{label} ({curve['class_id']})"] = points
    if len(names) == 1:  # its curve is the mean's
        series = dict(list(series.items())[:1])
    return line_chart("precision over recall", series, "recall", unit_range=True) if series else None


@dataclass(frozen=True)
class Bar:
    """A phase's part of the time.

    Attributes:
        phase: Which.
        name: For people.
        seconds: How long.
        begin: Where it begins, in percent of all.
        percent: How much of all it is.
    """

    phase: str
    name: str
    seconds: float
    begin: float
    percent: float


def phase_bars(seconds: Mapping[str, float]) -> list[Bar]:
    """The phases in their order, beside each other."""
    total, begin, bars = sum(seconds.values()) or 1.0, 0.0, []
    for phase, name in NAMED_PHASES.items():
        percent = 100 * seconds.get(phase, 0.0) / total
        bars.append(Bar(phase, name, seconds.get(phase, 0.0), round(begin, 3), round(percent, 3)))
        begin += percent
    return bars


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix to be shown.

    Attributes:
        names: Of rows (predicted) and columns (true), in their order.
        rows: Counts, and each count's share of its column, 0 to 1.
        left_out: How many classes are not shown.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[tuple[int, float], ...], ...]
    left_out: int


def matrix(findings: Mapping[str, Any]) -> Matrix:
    """The matrix of at most 20 classes, those with the most errors, and of the background where there is one."""
    classes = findings["classes"]
    counts = {(cell["predicted"], cell["true"]): cell["count"] for cell in findings["confusion"]}
    worst = sorted(classes, key=lambda row: (-row["false_positives"] - row["false_negatives"], -row["label_count"]))
    shown = sorted(row["id"] for row in worst[:_MATRIX_CLASSES])
    names = [classes[class_id]["name"] for class_id in shown]
    if findings["task"] != "classify":
        shown, names = [*shown, len(classes)], [*names, "background"]
    sums = {true: sum(count for (_, column), count in counts.items() if column == true) for true in shown}
    rows = tuple(
        tuple((count := counts.get((predicted, true), 0), round(count / sums[true], 3) if sums[true] else 0.0) for true in shown)
        for predicted in shown
    )
    return Matrix(tuple(names), rows, max(0, len(classes) - _MATRIX_CLASSES))
