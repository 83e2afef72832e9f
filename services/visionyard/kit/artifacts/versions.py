"""Numbered, immutable versions of a dataset or model: ``{parent}/versions/{number:08d}.json``.

A version is published by creating its document under the next free number with a conditional write, after everything that it refers to
has been written. Whoever made it is part of the document, so that a second attempt of the same job finds its own version instead of making another.

Deleting a version swaps its document for one without bytes, its tombstone: one write decides, whoever is killed when; a listing tells tombstones by their size;
and the number is never given out again, so that what a name once meant it never means otherwise.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from visionyard.kit.artifacts.version_numbers import newest_numbers
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore, OutcomeUnknown
from visionyard.kit.objectstore.rounds import rounds

_READS_AT_ONCE = 8
_MISSING_PARENT = {"datasets": Reason.DATASET_NOT_FOUND, "models": Reason.MODEL_NOT_FOUND}
_MISSING_VERSION = {"datasets": Reason.DATASET_VERSION_NOT_FOUND, "models": Reason.MODEL_VERSION_NOT_FOUND}


@dataclass(frozen=True)
class VersionDocument:
    """A published version.

    Attributes:
        name: Its name, with its number.
        body: What its maker wrote.
        made_by: Who made it: a job's name, or the digest of a pushed file.
        create_time: When it was published, by the store's clock.
        etag: The document's.
    """

    name: VersionName
    body: dict[str, Any]
    made_by: str
    create_time: datetime
    etag: str = ""


class Overtaken(Exception):
    """Another version was published since the one that was to be built upon was read."""


def version_prefix(name: VersionName) -> str:
    """The bucket prefix of what belongs to one version (its artifacts), with the trailing slash. The number must be known."""
    return f"{name.parent}/versions/{_number(name):08d}/"


def _key(parent: ResourceName, number: int) -> str:
    return f"{parent}/versions/{number:08d}.json"


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a dataset's or model's versions.

    Attributes:
        alive: Those of the versions that are there, ascending.
        last: The highest that was ever given out; 0 for none.
    """

    alive: list[int]
    last: int


def _numbers(store: ObjectStore, parent: ResourceName) -> _Numbers:
    prefix = f"{parent}/versions/"
    entries = [entry for entry in store.list(prefix, delimiter="/") if not entry.is_prefix and entry.key.endswith(".json")]
    numbered = [(int(entry.key[len(prefix) : -len(".json")]), entry.size) for entry in entries]
    return _Numbers([number for number, size in numbered if size], numbered[-1][0] if numbered else 0)


def _read(store: ObjectStore, parent: ResourceName, number: int) -> VersionDocument:
    """Reads a version's document; raises NotFound for a tombstone too."""
    stored = store.get(_key(parent, number))
    if not stored.data:
        raise NotFound(stored.info.key)
    document = json.loads(stored.data)
    # A document that was changed since tells when it was published; of one that was not the store does.
    published = document.get("create_time")
    created = datetime.fromisoformat(published) if published else stored.info.last_modified
    return VersionDocument(VersionName(parent, number), document["body"], document["made_by"], created, stored.info.etag)


def _read_first(store: ObjectStore, parent: ResourceName, numbers: Iterable[int]) -> VersionDocument | None:
    """The first of the versions that is still there: one may have been deleted since it was listed."""
    for number in numbers:
        with suppress(NotFound):
            return _read(store, parent, number)
    return None


def highest_number(store: ObjectStore, parent: ResourceName) -> int:
    """The highest number that was ever given out, also to a version that was deleted since; 0 for none. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    return next(newest_numbers(store, parent), 0)


def publish(
    store: ObjectStore,
    parent: ResourceName,
    body: dict[str, Any],
    made_by: str,
    since: datetime | None = None,
    after: int | None = None,
) -> VersionDocument:
    """Publishes ``body`` as the next version of ``parent``, or returns the version that ``made_by`` published before.

    Args:
        store: The bucket.
        parent: The dataset or model.
        body: A JSON document; everything that it refers to is written already.
        made_by: Who makes it; one version for each.
        since: Versions from before this moment cannot be ``made_by``'s (when its job was created, by the store's clock), which saves reading them.
        after: What :func:`highest_number` said before the body was made: the number of the new version is the next one. None: any number will do.

    Raises:
        Overtaken: ``made_by`` has published nothing, and somebody else a version behind ``after``; nothing was written, and nothing will be.
        StoreUnavailable: the store does not answer, or does not write; calling again later is safe.
    """
    nonce = uuid.uuid4().hex
    data = json.dumps({"body": body, "made_by": made_by, "nonce": nonce}, sort_keys=True).encode()
    tried, tries = 0, rounds(str(parent))
    while True:
        numbers = _numbers(store, parent)
        if (earlier := _made_by(store, parent, numbers.alive, made_by, since)) is not None:
            return earlier
        if after is not None and numbers.last != after:
            raise Overtaken
        number = numbers.last + 1
        if number != tried:  # others took the number before, so they get on, and so shall we
            tried, tries = number, rounds(_key(parent, number))
        next(tries)
        try:
            store.create(_key(parent, number), data)
        except (Conflict, OutcomeUnknown):
            # Another version took the number, or our own write succeeded and its answer was lost: the next round finds out by made_by.
            continue
        return _read(store, parent, number)


def find(store: ObjectStore, parent: ResourceName, made_by: str, since: datetime | None = None) -> VersionDocument | None:
    """The version of ``parent`` that ``made_by`` published, or None; ``since`` as for :func:`publish`.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    return _made_by(store, parent, _numbers(store, parent).alive, made_by, since)


def _made_by(store: ObjectStore, parent: ResourceName, numbers: list[int], made_by: str, since: datetime | None) -> VersionDocument | None:
    for number in reversed(numbers):
        version = _read_first(store, parent, [number])
        if version is None:
            continue
        if version.made_by == made_by:
            return version
        if since is not None and version.create_time < since:
            break
    return None


def resolve(store: ObjectStore, name: VersionName) -> VersionDocument:
    """Reads a version; without a number the newest.

    Raises:
        YardError: DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, MODEL_NOT_FOUND or MODEL_VERSION_NOT_FOUND.
    """
    parent = name.parent
    kind = parent.collection[:-1]
    if name.number is not None:
        with suppress(NotFound):
            return _read(store, parent, name.number)
    numbers = _numbers(store, parent)
    newest_one = _read_first(store, parent, reversed(numbers.alive))
    if newest_one is None:
        raise YardError(
            _MISSING_PARENT[parent.collection],
            f"there is no {kind} {parent.id!r} in project {parent.project!r}: see `yard {kind} list`",
            {"name": str(parent)},
        )
    if name.number is None:
        return newest_one
    missing = "has no version" if name.number > numbers.last else "has no longer a version"
    raise YardError(
        _MISSING_VERSION[parent.collection],
        f"{kind} {parent.id!r} {missing} {name.number}: its newest is {newest_one.name.number}",
        {"name": str(name)},
    )


def lookup(store: ObjectStore, name: VersionName) -> VersionDocument | None:
    """The version of that number, or None where there is none, or none any more."""
    return _read_first(store, name.parent, [_number(name)])


def newest(store: ObjectStore, parent: ResourceName) -> VersionDocument | None:
    """The newest version, or None where there is no such dataset or model."""
    return _read_first(store, parent, reversed(_numbers(store, parent).alive))


def list_versions(
    store: ObjectStore, parent: ResourceName, before: int | None = None, at_most: int | None = None
) -> Iterator[VersionDocument]:
    """The versions of ``parent``, newest first, with numbers below ``before``; none where there is no such dataset or model.

    A few are read at once, ahead of what is asked for but none beyond ``at_most``, so that a page of a list of thousands costs what the page holds.
    """
    numbers, left = newest_numbers(store, parent, before), at_most
    ahead: deque[Future[VersionDocument | None]] = deque()
    with ThreadPoolExecutor(_READS_AT_ONCE, "versions") as pool:
        while left is None or left > 0:
            room = _READS_AT_ONCE if left is None else min(_READS_AT_ONCE, left)
            ahead.extend(pool.submit(_read_if_there, store, parent, number) for number in itertools.islice(numbers, room - len(ahead)))
            if not ahead:
                return
            document = ahead.popleft().result()
            if document is not None:
                left = None if left is None else left - 1
                yield document


def _read_if_there(store: ObjectStore, parent: ResourceName, number: int) -> VersionDocument | None:
    """A version's document; None where it was deleted since it was listed."""
    try:
        return _read(store, parent, number)
    except NotFound:
        return None


def first(store: ObjectStore, parent: ResourceName) -> VersionDocument | None:
    """The oldest version: its create_time is the dataset's or model's own."""
    return _read_first(store, parent, _numbers(store, parent).alive)


def delete(store: ObjectStore, version: VersionDocument) -> bool:
    """Puts a tombstone in a version's place; what it referred to stays for a collection.

    Returns:
        Whether the version was there until now; False where somebody else deleted it.

    Raises:
        StoreUnavailable: the store does not answer, or does not write; calling again later is safe.
    """
    current: VersionDocument | None = version
    tries, etag = rounds(str(version.name)), version.etag
    sent = False
    while current is not None:
        if current.etag != etag:  # a collection moved its manifest meanwhile, so it got on, and so shall we
            tries, etag = rounds(str(version.name)), current.etag
        next(tries)
        try:
            store.compare_and_swap(_key(version.name.parent, _number(version.name)), b"", etag)
        except OutcomeUnknown:
            sent = True  # a tombstone that is found below may be ours
        except Conflict:
            pass
        else:
            return True
        current = lookup(store, version.name)
    return sent


def any_deleted_since(store: ObjectStore, parent: ResourceName, since: datetime) -> bool:
    """Whether a version of ``parent`` was deleted at or after ``since``, by the store's clock: then nobody can tell any more who had made it."""
    entries = store.list(f"{parent}/versions/", delimiter="/")
    return any(not e.is_prefix and not e.size and (e.last_modified is None or e.last_modified >= since) for e in entries)


def change(store: ObjectStore, version: VersionDocument, body: dict[str, Any]) -> VersionDocument:
    """Replaces a version's body by one that means the same: only where its bytes lie may differ. Its times stay.

    Raises:
        Conflict: somebody else changed or deleted it since it was read.
        StoreUnavailable: the store does not answer, or does not write; calling again later is safe.
    """
    parent, number = version.name.parent, _number(version.name)
    document = {
        "body": body,
        "made_by": version.made_by,
        "nonce": uuid.uuid4().hex,
        "create_time": version.create_time.isoformat(),
    }
    data = json.dumps(document, sort_keys=True).encode()
    tries = rounds(_key(parent, number))
    while True:
        next(tries)
        with suppress(
            Conflict, OutcomeUnknown
        ):  # either way, what is there counts: our own write may have been answered late or not at all
            store.compare_and_swap(_key(parent, number), data, version.etag)
        current = lookup(store, version.name)
        if current is None or (current.body != body and current.etag != version.etag):
            raise Conflict(_key(parent, number))
        if current.etag != version.etag:
            return current


def _number(name: VersionName) -> int:
    if name.number is None:
        raise ValueError(f"{name} has no number")
    return name.number


def list_parents(store: ObjectStore, project: str, collection: str, after: str = "") -> Iterator[ResourceName]:
    """The datasets or models of a project that have a version, by id, after the id ``after``."""
    prefix = f"projects/{project}/{collection}/"
    # "0" follows "/" in ASCII, so everything below `after` itself is skipped too.
    start = f"{prefix}{after}0" if after else ""
    for entry in store.list(prefix, start_after=start, delimiter="/"):
        if entry.is_prefix:
            yield ResourceName(project, collection, entry.key[len(prefix) :].rstrip("/"))
