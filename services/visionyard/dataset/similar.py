"""Images that look alike: perceptual hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 3
"""Two hashes that differ in no more bits are taken for pictures that look alike."""
_BANDS = 4
_BAND_BITS = 16
_MAX_BAND = 2000


def near_pairs(hashes: NDArray[np.uint64], check: Callable[[], None]) -> NDArray[np.int64]:
    """The pairs of images that look alike, not all of them: enough to join every group of such images.

    Of two hashes that differ in 3 of 64 bits, one of four bands of 16 bits is the same (pigeonhole), so only hashes that share a band are compared. In a band that more
    than 2,000 images share, each is compared with those that follow it in the order of the whole hash, so the work stays bounded.

    Args:
        hashes: UINT64 [images]; 0 means none, and is like no other.
        check: Called often; raises where the work is to stop.

    Returns:
        INT64 [pairs, 2], each the lower position first; sorted, without repetition.
    """
    there = np.flatnonzero(hashes)
    found: list[NDArray[np.int64]] = []
    for band in range(_BANDS):
        values = (hashes[there] >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
        order = np.lexsort((hashes[there], values))
        members, values = there[order], values[order]
        starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.empty(0, np.int64)
        lengths = np.diff(np.concatenate([starts, [len(values)]]))
        longest = int(lengths.max()) if len(lengths) else 0
        for distance in range(1, min(longest, _MAX_BAND)):
            check()
            left, right = members[:-distance], members[distance:]
            same = values[:-distance] == values[distance:]
            if not same.any():
                break
            left, right = left[same], right[same]
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= NEAR_BITS
            found.append(np.stack([np.minimum(left[near], right[near]), np.maximum(left[near], right[near])], axis=1))
    pairs = np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)
    return np.unique(pairs, axis=0).astype(np.int64)


def joined(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups of what is joined by pairs, directly or over others.

    Args:
        count: How many there are.
        pairs: INT64 [pairs, 2].

    Returns:
        INT64 [count]: for each the lowest position of its group.
    """
    root = np.arange(count, dtype=np.int64)

    def find(at: int) -> int:
        while root[at] != at:
            root[at] = root[root[at]]
            at = int(root[at])
        return at

    for one, other in pairs.tolist():
        a, b = find(one), find(other)
        root[max(a, b)] = min(a, b)
    return np.array([find(at) for at in range(count)], dtype=np.int64)
