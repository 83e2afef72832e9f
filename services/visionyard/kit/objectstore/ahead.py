"""Several reads at once: an answer takes a store milliseconds, most of which it waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WantedT = TypeVar("WantedT")
FoundT = TypeVar("FoundT")
AT_ONCE = 8


def read_ahead(read: Callable[[WantedT], FoundT], wanted: Iterable[WantedT], at_once: int = AT_ONCE) -> Iterator[FoundT]:
    """What ``read`` gives for each, in order; a few are read at once, ahead of what is asked for.

    Args:
        read: Reads one; safe for threads. What it raises comes where its answer would have.
        wanted: What to read.
        at_once: How many at once.
    """
    ahead: deque[Future[FoundT]] = deque()
    with ThreadPoolExecutor(at_once, "reads") as pool:
        for one in wanted:
            ahead.append(pool.submit(read, one))
            if len(ahead) == at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
