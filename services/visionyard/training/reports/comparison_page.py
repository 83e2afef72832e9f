"""The page of two models side by side: one HTML file that needs nothing from outside, made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionyard.kit.jobs.model import Job
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.pages.environment import page_environment
from visionyard.training.reports.page import shown_findings, sights
from visionyard.training.reports.report import read_pictures

_PICTURES_READ = 100
_PICTURED = 24
_ROWS = 200


def render_comparison(store: ObjectStore, job: Job, document: Mapping[str, Any]) -> bytes:
    """The page, UTF-8, below 10 MB whatever the job has found. Blocks for a moment.

    Args:
        store: The bucket.
        job: The evaluation job.
        document: See :mod:`.comparison`.
    """
    models = document["models"]
    pictures = [read_pictures(store, model["pictures"], _PICTURES_READ) for model in models]
    columns = [{**model, "label": _label(model["model_version"]), "found": shown_findings(model["findings"], {})} for model in models]
    # What only one does right is shown with what the other one has wrong there.
    differences = []
    for right, wrong in ((0, 1), (1, 0)):
        only = document["only_right"][right]
        shown = sights(models[wrong]["findings"], pictures[wrong], {entry["image"] for entry in only["images"]})[:_PICTURED]
        differences.append({"right": columns[right], "wrong": columns[wrong], "count": only["count"], "sights": shown})
    return (
        page_environment(__package__)
        .get_template("comparison.html.j2")
        .render(job=job, spec=job.spec, document=document, columns=columns, differences=differences, rows=_class_rows(models))
        .encode()
    )


def _label(version: str) -> str:
    parts = version.split("/")
    return f"{parts[3]}@{parts[5]}"


def _class_rows(models: list[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each class of both, those with the most labels first."""
    pairs = zip(models[0]["findings"]["classes"], models[1]["findings"]["classes"], strict=True)
    return sorted(pairs, key=lambda pair: -pair[0]["label_count"])[:_ROWS]
