"""Whether a store keeps the promises that jobs rest on. Each service asks once at its start and refuses a store that does not.

Stores that fail: MinIO before 2025-09 (accepts ``If-Match`` on a missing key), proxies that drop the headers, RustFS behind several endpoints.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

from visionyard.kit.objectstore.port import Conflict, ObjectStore, OutcomeUnknown, StoreUnavailable

_RACERS = 6


class StoreUnfitError(Exception):
    """The store does not hold conditional writes, so two workers could take the same job; the message says what it did."""


def probe_conditional_writes(store: ObjectStore) -> None:
    """Tries ``create`` and ``compare_and_swap``, also in a race, on a key of its own that is deleted again. Blocks; about 15 requests.

    Args:
        store: The bucket; made where it is missing.

    Raises:
        StoreUnfitError: they don't hold; running on this store would lose work.
        StoreUnavailable: the store does not answer, or answers got lost; ask again.
    """
    key = f"probes/{uuid.uuid4().hex}"
    try:
        _probe(store, key)
    except OutcomeUnknown as error:
        raise StoreUnavailable(f"the store's conditional writes could not be tried: {error}") from error
    finally:
        store.delete(key)


def _probe(store: ObjectStore, key: str) -> None:
    try:
        first = store.create(key, b"1")
        second = store.compare_and_swap(key, b"2", first)
    except Conflict:
        raise StoreUnfitError("the object store refused a conditional write whose condition held") from None
    _must_conflict("overwrote an object under If-None-Match", lambda: store.create(key, b"3"))
    _must_conflict("overwrote an object under a stale If-Match", lambda: store.compare_and_swap(key, b"4", first))
    if store.get(key).data != b"2":
        raise StoreUnfitError("the object store answered that it had not written under a condition, but had")
    store.delete(key)
    _must_conflict("wrote a missing object under If-Match", lambda: store.compare_and_swap(key, b"5", second))
    won = _race(store, key)
    if won != 1:
        raise StoreUnfitError(f"of {_RACERS} creations of one object at once {won} succeeded in the object store instead of one")


def _must_conflict(what_it_did: str, write: Callable[[], str]) -> None:
    try:
        write()
    except Conflict:
        return
    raise StoreUnfitError(f"the object store {what_it_did}: it does not support conditional writes")


def _race(store: ObjectStore, key: str) -> int:
    barrier = threading.Barrier(_RACERS)
    won: list[int] = []
    failed: list[Exception] = []

    def create(racer: int) -> None:
        barrier.wait()
        try:
            store.create(key, str(racer).encode())
        except Conflict:
            return
        except (OutcomeUnknown, StoreUnavailable) as error:
            failed.append(error)
        else:
            won.append(racer)

    threads = [threading.Thread(target=create, args=(racer,)) for racer in range(_RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise OutcomeUnknown(f"{len(failed)} of {_RACERS} writes got no answer: {failed[0]}")
    return len(won)
