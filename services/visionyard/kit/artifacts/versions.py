"""Numbered, immutable versions of a dataset or model: ``{parent}/versions/{number:08d}.json``.

A version is published by creating its document under the next free number with a conditional write, after everything that it refers to
has been written. Whoever made it is part of the document, so that a second attempt of the same job finds its own version instead of making another.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """

    name: VersionName
    body: dict[str, Any]
    made_by: str
    create_time: datetime


def version_prefix(name: VersionName) -> str:
    """The bucket prefix of what belongs to one version (its artifacts), with the trailing slash. The number must be known."""
    if name.number is None:
        raise ValueError(f"{name} has no number")
    return f"{name.parent}/versions/{name.number:08d}/"


def _key(parent: ResourceName, number: int) -> str:
    return f"{parent}/versions/{number:08d}.json"


def _numbers(store: ObjectStore, parent: ResourceName) -> list[int]:
    prefix = f"{parent}/versions/"
    keys = [entry.key for entry in store.list(prefix, delimiter="/") if not entry.is_prefix]
    return [int(key[len(prefix) : -len(".json")]) for key in keys if key.endswith(".json")]


def _read(store: ObjectStore, parent: ResourceName, number: int) -> VersionDocument:
    stored = store.get(_key(parent, number))
    document = json.loads(stored.data)
    return VersionDocument(VersionName(parent, number), document["body"], document["made_by"], stored.info.last_modified)


def publish(store: ObjectStore, parent: ResourceName, body: dict[str, Any], made_by: str, since: datetime | None = None) -> VersionDocument:
    """Publishes ``body`` as the next version of ``parent``, or returns the version that ``made_by`` published before.

    Args:
        store: The bucket.
        parent: The dataset or model.
        body: A JSON document; everything that it refers to is written already.
        made_by: Who makes it; one version for each.
        since: Versions from before this moment cannot be ``made_by``'s (when its job was created, by the store's clock), which saves reading them.

    Raises:
        StoreUnavailable: the store does not answer, or does not write; calling again later is safe.
    """
    nonce = uuid.uuid4().hex
    data = json.dumps({"body": body, "made_by": made_by, "nonce": nonce}, sort_keys=True).encode()
    tried, tries = 0, rounds(str(parent))
    while True:
        numbers = _numbers(store, parent)
        if (earlier := _made_by(store, parent, numbers, made_by, since)) is not None:
            return earlier
        number = (numbers[-1] if numbers else 0) + 1
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
    return _made_by(store, parent, _numbers(store, parent), made_by, since)


def _made_by(store: ObjectStore, parent: ResourceName, numbers: list[int], made_by: str, since: datetime | None) -> VersionDocument | None:
    for number in reversed(numbers):
        version = _read(store, parent, number)
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
        try:
            return _read(store, parent, name.number)
        except NotFound:
            pass
    numbers = _numbers(store, parent)
    if not numbers:
        raise YardError(
            _MISSING_PARENT[parent.collection],
            f"there is no {kind} {parent.id!r} in project {parent.project!r}: see `yard {kind} list`",
            {"name": str(parent)},
        )
    if name.number is None:
        return _read(store, parent, numbers[-1])
    raise YardError(
        _MISSING_VERSION[parent.collection],
        f"{kind} {parent.id!r} has no version {name.number}: its newest is {numbers[-1]}",
        {"name": str(name)},
    )


def newest(store: ObjectStore, parent: ResourceName) -> VersionDocument | None:
    """The newest version, or None where there is no such dataset or model."""
    numbers = _numbers(store, parent)
    return _read(store, parent, numbers[-1]) if numbers else None


def list_versions(store: ObjectStore, parent: ResourceName, before: int | None = None) -> Iterator[VersionDocument]:
    """The versions of ``parent``, newest first, with numbers below ``before``; none where there is no such dataset or model.

    Read some at a time as they are asked for, so that a page of a list of thousands costs what the page holds.
    """
    numbers = newest_numbers(store, parent, before)
    with ThreadPoolExecutor(_READS_AT_ONCE, "versions") as pool:
        while some := list(itertools.islice(numbers, _READS_AT_ONCE)):
            for document in pool.map(lambda number: _read_if_there(store, parent, number), some):
                if document is not None:
                    yield document


def _read_if_there(store: ObjectStore, parent: ResourceName, number: int) -> VersionDocument | None:
    """A version's document; None where it was deleted since it was listed."""
    try:
        return _read(store, parent, number)
    except NotFound:
        return None


def first(store: ObjectStore, parent: ResourceName) -> VersionDocument | None:
    """The oldest version: its create_time is the dataset's or model's own."""
    numbers = _numbers(store, parent)
    return _read(store, parent, numbers[0]) if numbers else None


def list_parents(store: ObjectStore, project: str, collection: str, after: str = "") -> Iterator[ResourceName]:
    """The datasets or models of a project that have a version, by id, after the id ``after``."""
    prefix = f"projects/{project}/{collection}/"
    # "0" follows "/" in ASCII, so everything below `after` itself is skipped too.
    start = f"{prefix}{after}0" if after else ""
    for entry in store.list(prefix, start_after=start, delimiter="/"):
        if entry.is_prefix:
            yield ResourceName(project, collection, entry.key[len(prefix) :].rstrip("/"))
