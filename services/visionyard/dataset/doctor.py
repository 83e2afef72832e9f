"""Looks at a set as a whole, before it becomes a version: what no single file shows."""

from __future__ import annotations

from collections.abc import Callable

from visionyard.dataset.findings import Report
from visionyard.dataset.finishing import find_doubles
from visionyard.dataset.held import HeldImages


def examine(held: HeldImages, report: Report, check: Callable[[], None], *, fix: bool) -> None:
    """Lists what is wrong with the set, and mends what can be mended safely where it is asked to.

    Args:
        held: The images, split and named, their labels in the task's shape.
        report: Gets the findings.
        check: Called often; raises where the work is to stop.
        fix: Whether to mend.
    """
    check()
    find_doubles(held, report, fix=fix)
