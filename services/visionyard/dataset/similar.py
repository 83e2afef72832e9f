"""Images that look alike: perceptual hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 3
"""Two hashes that differ in no more bits are taken for pictures that look alike.

Measured on real sets (blood cells 364 images, traffic cones 160, COCO 128, robot fights 50, flowers 150, varied photos 29, generated scenes 160): every pair within 3 bits, 16 in
all, is one: neighbouring frames of a video, copies of a picture, one slide photographed twice. The nearest pair of different pictures is 8 bits apart (two blossoms on the same
meadow), then 11. Frames of a video a second apart mostly differ in 4 to 12 bits: they are not called alike.
"""
_BANDS = 4
_BAND_BITS = 16
_MAX_BAND = 2000


class Groups:
    """Groups of what is joined by pairs, directly or over others.

    Args:
        count: How many there are; at first each is by itself.

    Attributes:
        root: INT64 [count]: for each the lowest position of its group.
    """

    def __init__(self, count: int) -> None:
        self.root = np.arange(count, dtype=np.int64)

    def join(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Joins pairs, INT64 [pairs, 2]; returns those that joined two groups, so never more than there are members."""
        root = self.root
        apart = pairs[root[pairs[:, 0]] != root[pairs[:, 1]]]
        used: list[tuple[int, int]] = []
        for one, other in apart.tolist():
            a, b = self._find(one), self._find(other)
            if a != b:
                root[max(a, b)] = min(a, b)
                used.append((one, other))
        while used and not np.array_equal(root[root], root):
            root[:] = root[root]
        return np.array(used, dtype=np.int64).reshape(-1, 2)

    def _find(self, at: int) -> int:
        root = self.root
        while root[at] != at:
            root[at] = root[root[at]]
            at = int(root[at])
        return at


def near_pairs(hashes: NDArray[np.uint64], check: Callable[[], None]) -> NDArray[np.int64]:
    """The pairs of images that look alike, not all of them: just enough to join every group of such images.

    Of two hashes that differ in 3 of 64 bits, one of four bands of 16 bits is the same (pigeonhole), so only hashes that share a band are compared. In a band that more
    than 2,000 images share, each is compared with those that follow it in the order of the whole hash, so the work stays bounded. A pair whose images are joined
    already is not kept, so memory stays flat for a million frames of one scene.

    Args:
        hashes: UINT64 [images]; 0 means none, and is like no other.
        check: Called often; raises where the work is to stop.

    Returns:
        INT64 [pairs, 2], each the lower position first; sorted, without repetition.
    """
    there = np.flatnonzero(hashes)
    groups, found = Groups(len(hashes)), [np.empty((0, 2), dtype=np.int64)]
    for band in range(_BANDS):
        values = (hashes[there] >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
        order = np.lexsort((hashes[there], values))
        members, values = there[order], values[order]
        neighbours = values[:-1] == values[1:]
        for distance in range(1, min(_longest_run(values), _MAX_BAND)):
            check()
            same = values[:-distance] == values[distance:]
            left, right = members[:-distance][same], members[distance:][same]
            apart = groups.root[left] != groups.root[right]
            if not apart.any() and (groups.root[members[:-1]] == groups.root[members[1:]])[neighbours].all():
                break  # whatever shares this band is joined
            left, right = left[apart], right[apart]
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= NEAR_BITS
            found.append(groups.join(np.stack([np.minimum(left[near], right[near]), np.maximum(left[near], right[near])], axis=1)))
    return np.unique(np.concatenate(found), axis=0)


def _longest_run(values: NDArray[np.uint64]) -> int:
    """How many neighbours of these sorted values are alike at most."""
    ends = np.flatnonzero(np.concatenate([values[1:] != values[:-1], [True]])) if len(values) else np.empty(0, np.int64)
    return int(np.diff(ends, prepend=-1).max()) if len(ends) else 0


def joined(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups of what is joined by pairs, directly or over others.

    Args:
        count: How many there are.
        pairs: INT64 [pairs, 2].

    Returns:
        INT64 [count]: for each the lowest position of its group.
    """
    groups = Groups(count)
    groups.join(pairs)
    return groups.root
