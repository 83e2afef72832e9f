"""One polygon for an object of several parts: an object that something hides in the middle is outlined in pieces, but a label holds one polygon.

Ultralytics' converter (``merge_multi_segment`` of https://docs.ultralytics.com/reference/data/converter/) joins the parts by lines of no width; so is it done here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_PARTS = 1000
_MOST_COMPARED = 1024
"""Corners of a part among which the one next to another part is looked for; of more, evenly spaced ones are."""

Corners = NDArray[np.float64]
"""FLOAT64 [corners, 2]: x and y."""


def join_parts(parts: Sequence[Corners]) -> Corners:
    """The polygon that goes along every part in turn and comes back: from each part a line leads to the next and the same line back.

    Args:
        parts: Three corners or more each, in any unit; at least one part.
    """
    if len(parts) == 1:
        return parts[0]
    bridges = [_nearest(one, other) for one, other in itertools.pairwise(parts)]
    there: list[Corners] = [parts[0][bridges[0][0]][None]]
    back: list[Corners] = [_arc(parts[0], bridges[0][0], bridges[0][0], whole=True)[:-1]]
    for i, part in enumerate(parts[1:-1], start=1):
        entry, leave = bridges[i - 1][1], bridges[i][0]
        there.append(_arc(part, entry, leave, whole=False))
        back.append(_arc(part, leave, entry, whole=entry == leave))
    last = bridges[-1][1]
    there.append(_arc(parts[-1], last, last, whole=True))
    return np.concatenate([*there, *reversed(back)])


def _arc(part: Corners, begin: int, end: int, *, whole: bool) -> Corners:
    """The corners from one to another, both included; once around where they are the same and ``whole`` says so."""
    count = (end - begin) % len(part) + 1
    return part[(begin + np.arange(len(part) + 1 if whole else count)) % len(part)]


def _nearest(one: Corners, other: Corners) -> tuple[int, int]:
    """The corner of each part that is next to the other part."""
    step_one, step_other = -(-len(one) // _MOST_COMPARED), -(-len(other) // _MOST_COMPARED)
    a, b = one[::step_one], other[::step_other]
    with np.errstate(all="ignore"):  # coordinates beyond all measure are refused later, with the label
        distances = (a[:, 0, None] - b[None, :, 0]) ** 2 + (a[:, 1, None] - b[None, :, 1]) ** 2
    i, j = divmod(int(distances.argmin()), len(b))
    return i * step_one, j * step_other
