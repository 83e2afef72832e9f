"""How often a conditional write is tried again while nothing comes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from visionyard.kit.objectstore.port import StoreUnavailable

_ROUNDS = 7
_FIRST_PAUSE_S = 0.05


def rounds(key: str) -> Iterator[None]:
    """One ``next`` before each attempt at writing ``key``: the first at once, the others after doubled pauses, 3 s in all.

    A store can answer reads while every write fails (SeaweedFS on a full disk), so an attempt that left the store as it was must not be repeated for ever.

    Raises:
        StoreUnavailable: by then nothing has come of all of them.
    """
    for round_ in range(_ROUNDS):
        if round_:
            time.sleep(_FIRST_PAUSE_S * 2 ** (round_ - 1))
        yield
    raise StoreUnavailable(f"writing {key} was tried {_ROUNDS} times, and nothing of it has reached the store")
