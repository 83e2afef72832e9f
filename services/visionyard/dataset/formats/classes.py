"""Class names that come up while labels are read, in formats that name the class in each label."""

from __future__ import annotations

from collections.abc import Iterable

from visionyard.dataset.formats.labelled import MAX_CLASSES, clean_class_name

_MAX_NAME = 1000
"""Characters by which names are told apart; what is written of them is shorter still."""


class NamedClasses:
    """Gives each class name an id as it comes up; in the end classes stand in alphabetical order, or in the order that the source declares.

    Args:
        declared: The names that the source declares, in its order; they come first, also where no label is of them.
    """

    def __init__(self, declared: Iterable[str] = ()) -> None:
        self._declared = list(dict.fromkeys(name[:_MAX_NAME] for name in declared))[:MAX_CLASSES]
        self._ids = {name: i for i, name in enumerate(self._declared)}
        self._order: list[str] | None = None

    def id_of(self, name: str) -> int | None:
        """The id of a name for now; None where there are 10,000 others already."""
        name = name[:_MAX_NAME]
        if name not in self._ids and len(self._ids) >= MAX_CLASSES:
            return None
        return self._ids.setdefault(name, len(self._ids))

    def _ordered(self) -> list[str]:
        if self._order is None or len(self._order) != len(self._ids):
            self._order = self._declared + sorted(self._ids.keys() - set(self._declared))
        return self._order

    def names(self) -> tuple[str, ...]:
        """The names by final id."""
        return tuple(clean_class_name(name, i) for i, name in enumerate(self._ordered()))

    def final_ids(self) -> list[int]:
        """The final id of each id that :meth:`id_of` gave."""
        at = {name: i for i, name in enumerate(self._ordered())}
        return [at[name] for name in self._ids]
