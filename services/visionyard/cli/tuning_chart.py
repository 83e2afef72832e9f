"""A search as pictures in SVG: how its trials did from rung to rung, and how the metric depends on each parameter. They need nothing from outside."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import json_format

from visionyard.training.v1 import tuning_job_pb2

_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 44
_TICKS = 5
_COLUMNS = 2
_DECADES_BY_TENS = 1.5
"""From so many decades on a logarithmic axis is marked at powers of ten only."""
_LONGEST_WORD = 12
_PALE, _PLAIN, _BEST = "#9db4d3", "#3b6fb6", "#d1495b"


@dataclass(frozen=True)
class Axis:
    """How values lie on an axis.

    Attributes:
        title: What it shows.
        place: Gives the place of a value, from 0 to 1.
        ticks: Values that are marked, with their labels.
    """

    title: str
    place: Callable[[Any], float]
    ticks: Sequence[tuple[Any, str]]


def linear(title: str, low: float, high: float) -> Axis:
    """An axis of numbers."""
    if high <= low:
        low, high = low - max(abs(low) / 10, 0.05), high + max(abs(high) / 10, 0.05)
    span = high - low
    low, high = low - span * 0.04, high + span * 0.04
    return Axis(title, lambda value: (value - low) / (high - low), [(tick, f"{tick:.4g}") for tick in _round_numbers(low, high)])


def logarithmic(title: str, low: float, high: float) -> Axis:
    """An axis of the logarithms of numbers above 0."""
    first, last = math.log10(low), math.log10(high)
    span = max(last - first, 1e-9)
    factors = (1.0,) if span > _DECADES_BY_TENS else (1.0, 2.0, 5.0)
    marks = [factor * 10.0**power for power in range(math.floor(first), math.ceil(last) + 1) for factor in factors]
    # A hair wider than the range, so that its ends are not lost to rounding.
    ticks = [(mark, f"{mark:.3g}") for mark in marks if low * 0.999 <= mark <= high * 1.001]
    return Axis(title, lambda value: 0.04 + 0.92 * (math.log10(value) - first) / span, ticks)


def choices(title: str, values: Sequence[Any]) -> Axis:
    """An axis of choices, side by side in their order."""
    return Axis(title, lambda value: (values.index(value) + 0.5) / len(values), [(value, _word(value)) for value in values])


def _word(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_WORD else f"{text[: _LONGEST_WORD - 1]}\N{HORIZONTAL ELLIPSIS}"


def _round_numbers(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS + 1)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def charts(job: tuning_job_pb2.TuningJob) -> list[str]:
    """The pictures, each an ``svg`` element without a place of its own: first the rungs, then one a parameter."""
    results = [(trial, list(trial.results)) for trial in job.trials if trial.results]
    values = [result.value for _, found in results for result in found] or [0.0, 1.0]
    metric = linear(job.spec.metric.removeprefix("metrics/"), min(values), max(values))
    longest = max([rung.epochs for rung in job.rungs] or [1])
    lines = [
        _line([(result.epochs, result.value) for result in found], best=trial.number == job.best_trial, told=f"trial {trial.number}")
        for trial, found in _best_last(results, job.best_trial)
    ]
    drawn = [_chart("Trials from rung to rung", linear("epochs", 0, longest), metric, lines)]
    for parameter in job.spec.parameters:
        axis = _axis_of(parameter)
        dots = [
            _dot(
                json_format.MessageToDict(trial.parameters)[parameter.name],
                found[-1].value,
                best=trial.number == job.best_trial,
                far=found[-1].rung > 1,
                told=f"trial {trial.number}, {found[-1].epochs} epochs",
            )
            for trial, found in _best_last(results, job.best_trial)
        ]
        drawn.append(_chart(parameter.name, axis, metric, dots))
    return drawn


def _best_last(results: Iterable[tuple[tuning_job_pb2.TuningTrial, Any]], best: int) -> list[tuple[tuning_job_pb2.TuningTrial, Any]]:
    """What is drawn last lies on top."""
    return sorted(results, key=lambda item: (item[0].number == best, item[1][-1].rung))


def _axis_of(parameter: tuning_job_pb2.TuningParameter) -> Axis:
    if parameter.WhichOneof("values") == "choices":
        return choices(parameter.name, cast("list[Any]", json_format.MessageToDict(parameter.choices)))  # of a list it makes a list
    make = logarithmic if parameter.range.log else linear
    return make(parameter.name, parameter.range.min, parameter.range.max)


Mark = Callable[[Axis, Axis], str]


def _line(points: Sequence[tuple[float, float]], *, best: bool, told: str) -> Mark:
    colour, width = (_BEST, 2.5) if best else (_PLAIN if len(points) > 1 else _PALE, 1.4)

    def draw(x: Axis, y: Axis) -> str:
        places = [_place(x, y, *point) for point in points]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        dots = "".join(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in places)
        line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        return f"<g><title>{html.escape(told)}</title>{line}{dots}</g>"

    return draw


def _dot(value: Any, result: float, *, best: bool, far: bool, told: str) -> Mark:
    colour = _BEST if best else _PLAIN if far else _PALE

    def draw(x: Axis, y: Axis) -> str:
        left, top = _place(x, y, value, result)
        radius = 5.5 if best else 4
        return f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{radius}" fill="{colour}"><title>{html.escape(told)}</title></circle>'

    return draw


def _place(x: Axis, y: Axis, value: Any, result: float) -> tuple[float, float]:
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + wide * x.place(value), _TOP + high * (1 - y.place(result))


def _chart(title: str, x: Axis, y: Axis, marks: Sequence[Mark]) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<text x="{_LEFT}" y="20" class="title">{html.escape(title)}</text>']
    for value, label in y.ticks:
        _, top = _place(Axis("", lambda _: 0.0, ()), y, 0, value)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{top:.1f}" y2="{top:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
    for value, label in x.ticks:
        left = _LEFT + (right - _LEFT) * x.place(value)
        parts.append(f'<line x1="{left:.1f}" x2="{left:.1f}" y1="{bottom}" y2="{bottom + 4}" class="axis"/>')
        parts.append(f'<text x="{left:.1f}" y="{bottom + 17}" text-anchor="middle">{html.escape(label)}</text>')
    parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" class="axis"/>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{html.escape(x.title)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{html.escape(y.title)}</text>')
    parts += [mark(x, y) for mark in marks]
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(parts)}</svg>'


STYLE = (
    "svg text { font: 12px system-ui, 'Segoe UI', Roboto, sans-serif; fill: var(--text, #1b2027); } svg .title { font-weight: 600; font-size: 14px; } "
    "svg .grid { stroke: var(--line, #dfe3e9); } svg .axis { stroke: var(--quiet, #5b6573); }"
)


def picture(job: tuning_job_pb2.TuningJob) -> str:
    """All pictures in one SVG file."""
    drawn = charts(job)
    rows = math.ceil(len(drawn) / _COLUMNS)
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT
    placed = (
        svg.replace("<svg ", f'<svg x="{position % _COLUMNS * _WIDTH}" y="{position // _COLUMNS * _HEIGHT}" ', 1)
        for position, svg in enumerate(drawn)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(placed)}</svg>\n'
    )
