"""Class names that are nearly the same: listed, and joined where only blanks tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from visionyard.dataset.findings import Code, Report


def list_alike(names: Iterable[str], report: Report) -> None:
    """Lists names that differ in case or blanks only, or not at all (CLASS_NAMES_ALIKE)."""
    seen: dict[str, str] = {}
    for name in names:
        key = "".join(name.casefold().split())
        first = seen.get(key)
        if first is None:
            seen[key] = name
        else:
            report.note(Code.CLASS_NAMES_ALIKE, f"the classes {first!r} and {name!r} stayed two classes, though their names are alike")


def join_alike(names: Sequence[str], class_ids: Sequence[int], report: Report) -> tuple[tuple[str, ...], list[int]]:
    """Makes classes one whose names differ in blanks only, or not at all; each is listed as mended.

    Args:
        names: The classes' names by id.
        class_ids: Ids among them.
        report: Gets CLASS_NAMES_ALIKE.

    Returns:
        The names that are left, in their order; and what each of ``class_ids`` becomes.
    """
    ids: dict[str, int] = {}
    kept: list[str] = []
    became: list[int] = []
    for name in names:
        key = "".join(name.split())
        if key in ids:
            first = kept[ids[key]]
            report.note(
                Code.CLASS_NAMES_ALIKE, f"the classes {first!r} and {name!r} became one, {first!r}: only blanks tell them apart", fixed=True
            )
        else:
            ids[key] = len(kept)
            kept.append(name)
        became.append(ids[key])
    return tuple(kept), [became[class_id] for class_id in class_ids]
