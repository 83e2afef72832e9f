"""What a search may choose from, as a file says it: YAML, a parameter a line, a range or a list of values behind its name.

::

    lr0: {min: 0.0001, max: 0.01, log: true}   # drawn evenly in its logarithm
    patience: {min: 5, max: 20}                # whole numbers, as Ultralytics takes nothing else here
    optimizer: [SGD, AdamW]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2

from visionyard.client.errors import ClientError, local
from visionyard.kit.errors import Reason
from visionyard.kit.plain_yaml import parse_plain_yaml
from visionyard.training.v1 import tuning_job_pb2

MOST_BYTES = 1 << 16
_MOST_PARAMETERS = 20
_MOST_CHOICES = 100
_RANGE = frozenset({"min", "max", "log"})


def read_search_space(path: Path | str) -> list[tuning_job_pb2.TuningParameter]:
    """Reads a file.

    Raises:
        ClientError: NOT_FOUND (FILE_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_search_space(data.decode("utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise local(Reason.INVALID_FIELD, f"{path} is not UTF-8 text, so it is no search space", {"field": "space"}) from error
    except OSError as error:
        raise local(Reason.FILE_NOT_FOUND, f"cannot read {path}: {error.strerror}", {"path": str(path)}) from error


def parse_search_space(text: str, what: str = "the search space") -> list[tuning_job_pb2.TuningParameter]:
    """Reads a file's text; which parameters there are, and what they may be, is the service's to say.

    Args:
        text: YAML without anchors, aliases and tags.
        what: What it is called in messages.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD).
    """

    def refused(where: str, told: str) -> ClientError:
        return local(Reason.INVALID_FIELD, f"{what} is no search space: {where} {told}", {"field": "space"})

    document = parse_plain_yaml(text, MOST_BYTES, refused)
    return search_space(document, what)


def search_space(space: Mapping[Any, Any], what: str = "the search space") -> list[tuning_job_pb2.TuningParameter]:
    """A space as a mapping of names to ``{"min": ..., "max": ..., "log": ...}`` or a list of values.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD).
    """
    if not 1 <= len(space) <= _MOST_PARAMETERS:
        raise local(
            Reason.INVALID_FIELD, f"{what} names {len(space)} parameters: 1 to {_MOST_PARAMETERS} may be searched", {"field": "space"}
        )
    return [_parameter(str(name)[:100], values, what) for name, values in space.items()]


def _parameter(name: str, values: Any, what: str) -> tuning_job_pb2.TuningParameter:
    if isinstance(values, list | tuple) and 1 <= len(values) <= _MOST_CHOICES:
        return tuning_job_pb2.TuningParameter(name=name, choices=_choices(name, [_number_of(value) for value in values], what))
    if isinstance(values, Mapping) and {"min", "max"} <= set(values) <= _RANGE:
        low, high, log = _number_of(values["min"]), _number_of(values["max"]), values.get("log", False)
        if _is_number(low) and _is_number(high) and isinstance(log, bool):
            return tuning_job_pb2.TuningParameter(name=name, range=tuning_job_pb2.TuningRange(min=low, max=high, log=log))
    raise local(
        Reason.INVALID_FIELD,
        f"{what} gives {name!r} neither a range such as {{min: 0.001, max: 0.1, log: true}} nor a list of 1 to {_MOST_CHOICES} values",
        {"field": "space"},
    )


def _choices(name: str, values: list[Any], what: str) -> struct_pb2.ListValue:
    choices = struct_pb2.ListValue()
    try:
        json.dumps(values, allow_nan=False)
        choices.extend(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise local(
            Reason.INVALID_FIELD, f"{what} lists a value for {name!r} that is neither number, text nor truth", {"field": "space"}
        ) from error
    return choices


def _number_of(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300  # noqa: PLR2004 - fits a double
