"""The numbers behind the page's charts; the template draws them as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from visionyard.dataset.doctor.survey import BINS, BINS_AN_OCTAVE, TINY_PX, TRAINING_SIZE_PX, Survey
from visionyard.kit.artifacts.manifest import SPLITS
from visionyard.kit.vision.drawing import colour_of

_MAX_BARS = 48
_TICKS = (1, 4, 16, 64, 256, TRAINING_SIZE_PX)


@dataclass(frozen=True)
class Bar:
    """One class's bar.

    Attributes:
        name: The class's name.
        colour: Its colour, as CSS has it.
        count: Its labels.
        parts: For each split that has some: the split, its labels, and where its part of the bar begins and how long it is, in percent of the longest bar.
    """

    name: str
    colour: str
    count: int
    parts: tuple[tuple[str, int, float, float], ...]


def css_colour(class_id: int) -> str:
    """A class's colour as on the pictures."""
    blue, green, red = colour_of(class_id)
    return f"#{red:02x}{green:02x}{blue:02x}"


def class_bars(survey: Survey) -> list[Bar]:
    """The most frequent classes, at most 48, the most frequent first."""
    counts = survey.per_class
    longest = max(int(counts.max(initial=0)), 1)
    return [_bar(survey, int(class_id), longest) for class_id in np.argsort(-counts, kind="stable")[:_MAX_BARS]]


def _bar(survey: Survey, class_id: int, longest: int) -> Bar:
    parts, begin = [], 0.0
    for at, split in enumerate(SPLITS):
        count = int(survey.labels[class_id, at])
        if count:
            length = 100 * count / longest
            parts.append((split, count, round(begin, 3), round(length, 3)))
            begin += length
    return Bar(survey.class_names[class_id], css_colour(class_id), int(survey.per_class[class_id]), tuple(parts))


@dataclass(frozen=True)
class SizePlot:
    """Boxes by width and height at the training size, both on a logarithmic scale; everything in units of a cell, y upwards from the bottom.

    Attributes:
        cells: How many cells each axis has.
        marks: For each cell that holds boxes: its column, its row, how dark it is from 0 to 1, and how many boxes it holds.
        ticks: Pixels, and where on an axis they stand.
        tiny: Where on an axis objects begin that are not tiny.
        median: The median box's width and height in pixels.
    """

    cells: int
    marks: tuple[tuple[int, int, float, int], ...]
    ticks: tuple[tuple[int, float], ...]
    tiny: float
    median: tuple[int, int]


def size_plot(survey: Survey) -> SizePlot | None:
    """The plot; None where there are no boxes to show."""
    sizes = survey.sizes
    if not sizes.any():
        return None
    darkest = math.log1p(int(sizes.max()))
    marks = [
        (int(x), int(y), round(0.15 + 0.85 * math.log1p(int(sizes[x, y])) / darkest, 3), int(sizes[x, y])) for x, y in np.argwhere(sizes)
    ]
    ticks = tuple((tick, round(math.log2(tick) * BINS_AN_OCTAVE, 2)) for tick in _TICKS)
    median = _median(sizes.sum(axis=1)), _median(sizes.sum(axis=0))
    return SizePlot(BINS, tuple(marks), ticks, math.log2(TINY_PX) * BINS_AN_OCTAVE, median)


def _median(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """The middle of the bin in which the median lies, in pixels."""
    at = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return round(2 ** ((at + 0.5) / BINS_AN_OCTAVE))
