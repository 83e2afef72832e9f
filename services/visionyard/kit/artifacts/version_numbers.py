"""The numbers of a long list of versions from its end, without listing it: S3 lists forwards only, a thousand keys a request, but versions are numbered without gaps."""

from __future__ import annotations

from collections.abc import Iterator

from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

_FIRST_STEP = 16
_LISTED = 64
"""So many keys are listed as fast as two are looked for one by one."""
_SUFFIX = ".json"


def newest_numbers(store: ObjectStore, parent: ResourceName, before: int | None = None) -> Iterator[int]:
    """The numbers that versions of ``parent`` may have below ``before``, highest first; whether each is still there its document tells. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    last = _last(store, f"{parent}/versions/") if before is None else before - 1
    return iter(range(last, 0, -1))


def _last(store: ObjectStore, prefix: str) -> int:
    """The highest number; 0 for none. Found by doubling, then by halving; a listing from there on has the last word.

    It lists more than a few only where a document was taken out of the bucket by hand.
    """
    low, step = 0, _FIRST_STEP
    while _is_there(store, prefix, low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > _LISTED:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_there(store, prefix, middle) else (low, middle)
    return max(_numbers_above(store, prefix, low), default=low)


def _is_there(store: ObjectStore, prefix: str, number: int) -> bool:
    try:
        store.head(_key(prefix, number))
    except NotFound:
        return False
    return True


def _numbers_above(store: ObjectStore, prefix: str, number: int) -> Iterator[int]:
    start = _key(prefix, number) if number else ""
    for entry in store.list(prefix, start_after=start, delimiter="/"):
        if not entry.is_prefix and entry.key.endswith(_SUFFIX):
            yield int(entry.key[len(prefix) : -len(_SUFFIX)])


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{number:08d}{_SUFFIX}"
