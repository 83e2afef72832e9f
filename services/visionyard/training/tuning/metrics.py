"""Which metrics a search may go by: the keys under which Ultralytics gives them, by task."""

from __future__ import annotations

import difflib

from visionyard.kit.errors import invalid_field


def _of_boxes(letter: str) -> tuple[str, ...]:
    return tuple(f"metrics/{name}({letter})" for name in ("mAP50-95", "mAP50", "precision", "recall"))


METRICS = {
    "detect": _of_boxes("B"),
    "obb": _of_boxes("B"),
    "segment": (*_of_boxes("M"), *_of_boxes("B")),
    "pose": (*_of_boxes("P"), *_of_boxes("B")),
    "classify": ("metrics/accuracy_top1", "metrics/accuracy_top5"),
}
"""Each task's metrics, the one that it is judged by first (ultralytics/utils/metrics.py, ``keys`` of the metrics classes, 8.4.190)."""


def metric_of(task: str, wanted: str) -> str:
    """The key of a metric.

    Args:
        task: The task.
        wanted: A key, or what stands between ``metrics/`` and the bracket; empty for the one that the task is judged by.

    Raises:
        YardError: INVALID_FIELD, the task has no such metric.
    """
    known = METRICS[task]
    if not wanted:
        return known[0]
    found = next(
        (key for key in known if wanted in {key, key.removeprefix("metrics/"), key.removeprefix("metrics/").partition("(")[0]}), None
    )
    if found is None:
        short = {key.removeprefix("metrics/").lower(): key.removeprefix("metrics/") for key in known}
        near = difflib.get_close_matches(wanted[:100].lower(), short, n=1)
        hint = f"did you mean {short[near[0]]!r}?" if near else f"a set for {task} has {', '.join(short.values())}"
        raise invalid_field("tuning_job.spec.metric", f"{wanted[:100]!r} is no metric here: {hint}")
    return found
