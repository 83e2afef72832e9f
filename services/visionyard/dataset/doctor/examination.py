"""Looks at a set as a whole, before it becomes a version: what no single file shows."""

from __future__ import annotations

from collections.abc import Callable

from visionyard.dataset.doctor.judging import judge
from visionyard.dataset.doctor.look_alikes import find_look_alikes
from visionyard.dataset.doctor.survey import survey
from visionyard.dataset.findings import Report
from visionyard.dataset.finishing import Content, find_doubles


def examine(content: Content, report: Report, check: Callable[[], None], *, fix: bool) -> None:
    """Lists what is wrong with the set, and mends what can be mended safely where it is asked to.

    Memory stays flat (a few bytes an image): images are read one by one from the staging database, labels are only counted. Of each kind of finding only the first
    few are listed one by one, the others in one more with their number.

    Args:
        content: The images, split and named, their labels in the task's shape; and the classes.
        report: Gets the findings.
        check: Called often; raises where the work is to stop.
        fix: Whether to mend.

    Raises:
        YardError: SPLIT_EMPTY, see :func:`find_doubles`.
    """
    check()
    find_doubles(content.images, report, fix=fix)
    find_look_alikes(content.images, report, check)
    found = survey(content, report, check)
    report.classes = found.class_counts()
    judge(found, report)
