"""Which of the attributes that a user of VIA made up says a region's class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import MAX_CLASSES
from visionyard.dataset.formats.listed import Unusable
from visionyard.kit.errors import Reason, YardError

_USUAL = ("class", "label", "labels", "name", "type", "category")
_CHOICES = frozenset({"dropdown", "radio"})
_MAX_ATTRIBUTES = 100
_MAX_NAME = 200
UNNAMED = "object"
"""What regions without any attribute are called."""


class Attributes:
    """The attributes of a labelling's regions, gathered before its labels are read."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._used: dict[str, None] = {}

    def declare(self, regions: Mapping[str, Any]) -> None:
        """Takes what a project declares: each attribute's ``type`` and ``options``."""
        for name, attribute in list(regions.items())[:_MAX_ATTRIBUTES]:
            if isinstance(attribute, dict):
                options = attribute.get("options")
                self._declared[name] = str(attribute.get("type")), tuple(options)[:MAX_CLASSES] if isinstance(options, dict) else ()

    def see(self, attributes: Any) -> None:
        """Takes a region's attributes; those without a value say nothing."""
        if isinstance(attributes, dict):
            for name, value in attributes.items():
                if value not in ("", None, {}, []) and len(self._used) < _MAX_ATTRIBUTES:
                    self._used[name[:_MAX_NAME]] = None

    def choose(self, place: str) -> str:
        """The attribute that says the class; empty where no region has any.

        It is the only one that is a choice (a dropdown or radio buttons) in a project; else the only one that is used; else the one that is called as such attributes
        usually are.

        Args:
            place: The labelling's file, for the message.

        Raises:
            YardError: CLASSES_UNKNOWN, where several may be it.
        """
        choices = [name for name, (kind, _) in self._declared.items() if kind in _CHOICES]
        for names in ([name for name in choices if name in self._used], list(self._used)):
            if len(names) == 1:
                return names[0]
            usual = {name.lower(): name for name in reversed(names)}
            if found := next((usual[name] for name in _USUAL if name in usual), ""):
                return found
        if not self._used:
            return choices[0] if len(choices) == 1 else ""
        raise YardError(
            Reason.CLASSES_UNKNOWN,
            f"{place}: the regions have the attributes {', '.join(sorted(self._used))[:300]}, and none of them is clearly the class: "
            f"call the one that is it 'class'",
            {"file": place},
        )

    def options(self, name: str) -> tuple[str, ...]:
        """The values that a project declares for an attribute, in its order."""
        return self._declared.get(name, ("", ()))[1]


def class_of(attributes: Any, name: str) -> Any:
    """What a region's attributes say its class is; of check boxes the one that is ticked.

    Args:
        attributes: As written.
        name: What :meth:`Attributes.choose` gave.

    Raises:
        Unusable: they don't say.
    """
    if not name:
        return UNNAMED
    value = attributes.get(name) if isinstance(attributes, dict) else None
    if isinstance(value, dict):
        ticked = [option for option, state in value.items() if state]
        if len(ticked) > 1:
            raise Unusable(Code.MALFORMED_LABEL, f"has {len(ticked)} values of the attribute {name!r}, which says its class")
        value = ticked[0] if ticked else None
    if value in (None, ""):
        raise Unusable(Code.MALFORMED_LABEL, f"has no value of the attribute {name!r}, which says its class")
    return value
