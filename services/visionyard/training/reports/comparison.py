"""Two models' findings on the same pictures, side by side.

The document that an evaluation job keeps::

    {"version": 1, "models": [{"model_version": "projects/...", "parameter_count": 3011238, "findings": {...}, "pictures": {"key": ...}}, {...}],
     "only_right": [{"count": 3, "images": [{"image": "val/7.jpg", "false_positive_count": 1, "false_negative_count": 0}]}, {...}],
     "both_wrong": 4, "both_right": 33}

``only_right`` belongs to the models in their order: pictures on which that one makes no error and the other one does, the other one's worst first.
``findings`` is what :mod:`.findings` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_DIFFERENCES = 1000
COMPARISON_FILE = "comparison.json"

Errors = Mapping[str, tuple[int, int]]
"""False positives and false negatives of each picture that has some, by its name."""


def differences(first: Errors, second: Errors, image_count: int) -> dict[str, Any]:
    """What differs between two models; the document's keys from ``only_right`` on.

    Args:
        first: The first model's errors.
        second: The second one's.
        image_count: How many pictures both have seen.
    """
    wrong, both = first.keys() | second.keys(), first.keys() & second.keys()
    return {
        "only_right": [_only(second, first), _only(first, second)],
        "both_wrong": len(both),
        "both_right": image_count - len(wrong),
    }


def _only(wrong: Errors, right: Errors) -> dict[str, Any]:
    """The pictures on which one model is wrong and the other one is not."""
    names = sorted((name for name in wrong if name not in right), key=lambda name: (-sum(wrong[name]), name))
    images: Sequence[dict[str, Any]] = [
        {"image": name, "false_positive_count": wrong[name][0], "false_negative_count": wrong[name][1]} for name in names[:MAX_DIFFERENCES]
    ]
    return {"count": len(names), "images": images}
