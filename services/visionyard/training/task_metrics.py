"""The metrics of a task's validation, by which the best epoch or the best trial is chosen: short names, and what Ultralytics calls them.

The keys are those of ``ultralytics/utils/metrics.py`` (8.4): ``metrics/mAP50(B)`` of boxes, ``(M)`` of masks, ``(P)`` of keypoints; of a classifier ``metrics/accuracy_top1``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from visionyard.kit.errors import YardError, invalid_field

_SHAPES = {"detect": "B", "obb": "B", "segment": "BM", "pose": "BP"}
_MEASURES = ("precision", "recall", "mAP50", "mAP50-95")
_ACCURACIES = {"top1": "metrics/accuracy_top1", "top5": "metrics/accuracy_top5"}
_LONGEST_NAME = 100
_FIELD = "training_job.spec.best_metric"


def metric_names(task: str) -> dict[str, str]:
    """The metrics of a task; those of boxes where nothing else is said: short name to Ultralytics' key.

    Args:
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.
    """
    if task == "classify":
        return dict(_ACCURACIES)
    shapes = _SHAPES[task]
    named = {f"{measure}({shape})": f"metrics/{measure}({shape})" for shape in shapes for measure in _MEASURES}
    return {measure: f"metrics/{measure}(B)" for measure in _MEASURES} | (named if len(shapes) > 1 else {})


def main_metric(task: str) -> str:
    """The key of the metric that a task is judged by first: of masks or keypoints where it has them."""
    return _ACCURACIES["top1"] if task == "classify" else f"metrics/mAP50-95({_SHAPES[task][-1]})"


def metric_key(name: str, task: str, field: str = _FIELD) -> str:
    """Ultralytics' key of a metric by its short name, or by the key itself.

    Args:
        name: What was given.
        task: The task.
        field: The request's field that it was given in.

    Raises:
        YardError: INVALID_FIELD, the task has no such metric; the nearest is named.
    """
    names = metric_names(task)
    found = _find(name, [names])
    if found is None:
        raise _unknown(name, names, f"of the task {task}", field)
    return found


def check_metric_name(name: str) -> None:
    """Refuses a name that is no metric of any task.

    Raises:
        YardError: INVALID_FIELD; the nearest is named.
    """
    tasks = [metric_names(task) for task in (*_SHAPES, "classify")]
    if _find(name, tasks) is None:
        raise _unknown(name, dict.fromkeys(key for names in tasks for key in names), "of any task", _FIELD)


def _find(name: str, tasks: Iterable[dict[str, str]]) -> str | None:
    for names in tasks:
        key = names.get(name, name)
        if key in names.values():
            return key
    return None


def _unknown(name: str, names: Iterable[str], whose: str, field: str) -> YardError:
    known = list(names)
    by_small = {short.lower(): short for short in known}
    plain = name[:_LONGEST_NAME].lower().removeprefix("metrics/")
    near = [by_small[match] for match in difflib.get_close_matches(plain, by_small, n=2)]
    hint = f"did you mean {' or '.join(near)}? There are {', '.join(known)}" if near else f"there are {', '.join(known)}"
    return invalid_field(field, f"{name[:_LONGEST_NAME]!r} is no metric {whose}: {hint}")
