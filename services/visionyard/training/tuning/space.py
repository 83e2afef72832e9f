"""What a search may choose from: training arguments, each with a range or a list of values, checked as overrides are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.training.arguments import ArgumentTable, check_overrides

MOST_PARAMETERS = 20
_LEAST_CHOICES, _MOST_CHOICES = 2, 100
_MOST_TRIED = 64
_SET_BY_THE_SEARCH = {
    "epochs": "the search itself says how long each trial trains (--epochs)",
    "time": "a trial ends by its epochs, so that trials can be compared",
}
_WHOLE_BESIDES = frozenset({"batch", "imgsz", "freeze"})
"""Arguments that take whole numbers but are not in Ultralytics' own list of those, since they take something else too."""
_AUTO = "auto"
_PASSED_OVER = ("lr0", "warmup_bias_lr")
_SHARES_BESIDES = frozenset({"scale"})


@dataclass(frozen=True)
class Parameter:
    """An argument that is searched: in a range, or among choices.

    Attributes:
        name: Ultralytics' name of it.
        low: The least value of a range.
        high: The largest value of a range, itself included.
        log: Whether the range is drawn evenly in its logarithm.
        whole: Whether the range holds whole numbers only.
        choices: The values to choose from; empty for a range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {**vars(self), "choices": list(self.choices)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Parameter:
        """Reads what :meth:`to_json` wrote."""
        return cls(**{**document, "choices": tuple(document["choices"])})


def check_space(space: Sequence[Parameter], taken: Mapping[str, Any], table: ArgumentTable) -> tuple[Parameter, ...]:
    """Checks a space against what the installed Ultralytics takes.

    Args:
        space: The parameters.
        taken: The arguments that every trial has anyway; none of them can be searched too.
        table: What the installed Ultralytics says.

    Returns:
        The parameters by name, with their values in Ultralytics' own types.

    Raises:
        YardError: INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT or INVALID_ARGUMENT_VALUE.
    """
    names = [parameter.name for parameter in space]
    if not 1 <= len(names) <= MOST_PARAMETERS:
        raise invalid_field("tuning_job.spec.parameters", f"takes 1 to {MOST_PARAMETERS} parameters, not {len(names)}")
    check_free(names)
    for name in names:
        if names.count(name) > 1 or name in taken:
            raise invalid_field("tuning_job.spec.parameters", f"names {name[:100]!r}, which is given twice: leave one out")
    checked = tuple(_checked(parameter, table) for parameter in sorted(space, key=lambda parameter: parameter.name))
    _check_optimizer(checked, taken, table)
    return checked


def _check_optimizer(space: Sequence[Parameter], taken: Mapping[str, Any], table: ArgumentTable) -> None:
    """Refuses to search what Ultralytics would pass over: each trial would train the same, and the table would say otherwise.

    With ``optimizer=auto`` ``ultralytics/engine/trainer.py: build_optimizer`` (8.4) takes AdamW, or MuSGD above 10,000 steps, with a rate by the number of classes.
    """
    by_name = {parameter.name: parameter for parameter in space}
    searched = by_name["optimizer"].choices if "optimizer" in by_name else ()
    if _AUTO not in (searched or (taken.get("optimizer", table.defaults["optimizer"]),)):
        return
    for name in _PASSED_OVER:
        if name in by_name:
            instead = (
                "leave auto out of the optimizers" if searched else "choose an optimizer too, such as optimizer=AdamW or a list of them"
            )
            raise _wrong(name, f"would have no effect: with optimizer=auto Ultralytics {table.version} chooses it by itself; {instead}")


def check_free(names: Iterable[str]) -> None:
    """Refuses arguments by which a search itself tells trials how long to train.

    Raises:
        YardError: RESERVED_ARGUMENT.
    """
    for name in names:
        if name in _SET_BY_THE_SEARCH:
            raise YardError(Reason.RESERVED_ARGUMENT, f"{name!r} cannot be set here: {_SET_BY_THE_SEARCH[name]}", {"argument": name})


def _checked(parameter: Parameter, table: ArgumentTable) -> Parameter:
    if parameter.choices:
        return _checked_choices(parameter, table)
    name, low, high = parameter.name, parameter.low, parameter.high
    check_overrides({name: low}, table)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise _wrong(name, "has a range whose min is not below its max")
    if parameter.log and low <= 0:
        raise _wrong(name, "has a logarithmic range, and that must begin above 0")
    whole = name in table.ints | _WHOLE_BESIDES
    if not whole and name not in table.floats | table.fractions | _SHARES_BESIDES:
        raise _wrong(name, "takes no range of numbers: give a list of values")
    if whole and not (low.is_integer() and high.is_integer()):
        raise _wrong(name, "takes whole numbers, and so do the ends of its range")
    for value in _tried(low, high) if whole else (low, high):
        try:
            check_overrides({name: value}, table)
        except YardError as error:
            raise _wrong(name, f"does not take every value of its range: {error.message}; give a list of values") from None
    return replace(parameter, whole=whole)


def _tried(low: float, high: float) -> list[float]:
    """Whole numbers all over a range, both ends among them: all of a short range."""
    step = max(1, int(high - low) // _MOST_TRIED)
    return [*range(int(low), int(high), step), int(high)]


def _checked_choices(parameter: Parameter, table: ArgumentTable) -> Parameter:
    if not _LEAST_CHOICES <= len(parameter.choices) <= _MOST_CHOICES:
        raise _wrong(parameter.name, f"takes {_LEAST_CHOICES} to {_MOST_CHOICES} values to choose from, not {len(parameter.choices)}")
    values = tuple(check_overrides({parameter.name: choice}, table)[parameter.name] for choice in parameter.choices)
    kinds = [(isinstance(value, bool), value) for value in values]  # True equals 1
    if any(kind in kinds[:position] for position, kind in enumerate(kinds)):
        raise _wrong(parameter.name, "has a value twice in its list")
    return replace(parameter, choices=values)


def _wrong(name: str, what: str) -> YardError:
    return YardError(Reason.INVALID_ARGUMENT_VALUE, f"{name} {what}", {"argument": name})
