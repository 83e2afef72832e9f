"""How a version is made of others: messages to domain objects and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from visionyard.dataset.import_spec import Derivation
from visionyard.dataset.v1 import import_job_pb2
from visionyard.kit.errors import invalid_field
from visionyard.kit.names import VersionName

_FIELD = "import_job.spec.derivation"
_MAX_SOURCES = 100
_SPLIT_COUNTS = (2, 3)
_MAX_PATTERN = 1000


def derivation_from_proto(message: import_job_pb2.Derivation) -> Derivation:
    """What a request asks for.

    Raises:
        YardError: INVALID_NAME, INVALID_FIELD.
    """
    operation = message.WhichOneof("operation")
    if operation is None:
        raise invalid_field(_FIELD, "has no operation: set merge, filter, remap, split, subset or publish")
    asked: Any = getattr(message, operation)
    sources: list[str] = list(asked.sources) if operation == "merge" else [asked.source]
    parameters = _READERS[operation](asked)
    if not 0 < len(sources) <= _MAX_SOURCES:
        raise invalid_field(_FIELD, f"names {len(sources)} versions: name 1 to {_MAX_SOURCES}")
    return Derivation(operation, tuple(VersionName.parse(name, "datasets") for name in sources), parameters)


def _merge(asked: import_job_pb2.Merge) -> dict[str, Any]:
    return {"class_names": _names(asked.class_names)}


def _filter(asked: import_job_pb2.Filter) -> dict[str, Any]:
    if not asked.classes and not asked.drop_empty:
        raise invalid_field(f"{_FIELD}.filter", "keeps everything: name classes, or set drop_empty")
    return {"classes": list(asked.classes), "drop_empty": asked.drop_empty}


def _remap(asked: import_job_pb2.Remap) -> dict[str, Any]:
    if bool(asked.class_names) == bool(asked.single_class):
        raise invalid_field(f"{_FIELD}.remap", "needs new names of classes or a single class, one of the two")
    return {"class_names": _names(asked.class_names), "single_class": asked.single_class}


def _split(asked: import_job_pb2.Resplit) -> dict[str, Any]:
    if not asked.ratios:
        raise invalid_field(f"{_FIELD}.split.ratios", "is missing: give two shares (train, val) or three (train, val, test)")
    if asked.group_pattern and asked.group_similar:
        raise invalid_field(f"{_FIELD}.split.group_similar", "cannot be asked for together with a pattern")
    if len(asked.group_pattern) > _MAX_PATTERN:
        raise invalid_field(f"{_FIELD}.split.group_pattern", f"has more than {_MAX_PATTERN} characters")
    return {
        "ratios": list(ratios_from_proto(f"{_FIELD}.split.ratios", asked.ratios)),
        "seed": asked.seed,
        "group_pattern": asked.group_pattern,
        "group_similar": asked.group_similar,
    }


def _subset(asked: import_job_pb2.Subset) -> dict[str, Any]:
    if asked.size < 1:
        raise invalid_field(f"{_FIELD}.subset.size", f"is {asked.size}: ask for 1 image or more")
    return {"size": asked.size, "seed": asked.seed}


def _publish(_: import_job_pb2.Publish) -> dict[str, Any]:
    return {}


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "merge": _merge,
    "filter": _filter,
    "remap": _remap,
    "split": _split,
    "subset": _subset,
    "publish": _publish,
}


def _names(names: Any) -> dict[str, str]:
    for old, new in names.items():
        if not old or not new.strip():
            raise invalid_field(f"{_FIELD}.class_names", f"maps {old!r} to {new!r}: a name must not be empty")
    return dict(names)


def ratios_from_proto(field: str, ratios: Iterable[float]) -> tuple[float, ...]:
    """The shares of a drawn split.

    Raises:
        YardError: INVALID_FIELD.
    """
    values = tuple(ratios)
    if not values:
        return ()
    if len(values) not in _SPLIT_COUNTS:
        raise invalid_field(field, f"has {len(values)} shares: give two (train, val) or three (train, val, test)")
    if not all(0 <= value <= 1 for value in values) or not math.isclose(sum(values), 1.0, abs_tol=1e-6):
        raise invalid_field(field, f"{', '.join(f'{value:g}' for value in values)} are not shares from 0 to 1 that make 1 together")
    if values[0] == 0:
        raise invalid_field(field, "gives train nothing: its share must be above 0")
    return values


def derivation_to_proto(derivation: Derivation) -> import_job_pb2.Derivation:
    """The message."""
    sources, parameters = [str(name) for name in derivation.sources], derivation.parameters
    if derivation.operation == "merge":
        return import_job_pb2.Derivation(merge=import_job_pb2.Merge(sources=sources, **parameters))
    message = import_job_pb2.Derivation()
    getattr(message, derivation.operation).CopyFrom(_MESSAGES[derivation.operation](source=sources[0], **parameters))
    return message


_MESSAGES: dict[str, Any] = {
    "filter": import_job_pb2.Filter,
    "remap": import_job_pb2.Remap,
    "split": import_job_pb2.Resplit,
    "subset": import_job_pb2.Subset,
    "publish": import_job_pb2.Publish,
}
