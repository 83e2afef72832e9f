"""The page of a training's report: one HTML file that needs nothing from outside, made when it is asked for.

Names come from strangers: the templates escape all of them, and the page forbids scripts and addresses by a Content-Security-Policy of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.pages.environment import data_uri, page_environment
from visionyard.training.reports.charts import epoch_charts, matrix, phase_bars, pr_chart
from visionyard.training.reports.findings import PICTURES_FILE
from visionyard.training.reports.report import TrainingReport, images_per_second, read_pictures

_PICTURED = 60
_ROWS = 200


@dataclass(frozen=True)
class Sight:
    """A picture with what is wrong on it.

    Attributes:
        entry: As the findings hold it.
        uri: The thumbnail as an address; empty for none.
        invented: Shapes of the false positives, as (title, points of a polygon in pixels of the picture).
        missed: Those of the false negatives.
    """

    entry: Mapping[str, Any]
    uri: str
    invented: tuple[tuple[str, str], ...]
    missed: tuple[tuple[str, str], ...]


def render_report(store: ObjectStore, report: TrainingReport) -> bytes:
    """The page, UTF-8, below 5 MB whatever the report holds. Blocks for a moment.

    Args:
        store: The bucket.
        report: The report.
    """
    pictures = read_pictures(store, (report.job.pointers.get("files") or {}).get(PICTURES_FILE), _PICTURED) if report.findings else {}
    return (
        page_environment(__package__)
        .get_template("training_report.html.j2")
        .render(
            report=report,
            spec=report.job.spec,
            charts=epoch_charts(report.rows, report.best_epoch) if report.rows else [],
            bars=phase_bars(report.measured.get("seconds", {})),
            worked_s=sum(report.measured.get("seconds", {}).values()),
            images_per_second=images_per_second(report.measured),
            gpu=report.measured.get("gpu"),
            findings=shown_findings(report.findings, pictures) if report.findings else None,
        )
        .encode()
    )


def shown_findings(findings: Mapping[str, Any], pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """What the template of findings takes.

    Args:
        findings: See :mod:`.findings`.
        pictures: Thumbnails by name.
    """
    return {
        **findings,
        "pr": pr_chart(findings),
        "matrix": matrix(findings),
        "rows": sorted(findings["classes"], key=lambda row: -row["label_count"])[:_ROWS],
        "sights": sights(findings, pictures),
    }


def sights(findings: Mapping[str, Any], pictures: Mapping[str, bytes], among: Collection[str] | None = None) -> list[Sight]:
    """The worst pictures, at most 60 of those that have a thumbnail.

    Args:
        findings: See :mod:`.findings`.
        pictures: Thumbnails by name.
        among: Only these pictures, by name; None for all.
    """
    names = [row["name"] for row in findings["classes"]]
    wanted = (entry for entry in findings["images"] if among is None or entry["image"] in among)
    shown = [entry for entry in wanted if entry["thumbnail"] in pictures][:_PICTURED]
    return [
        Sight(
            entry,
            data_uri(pictures[entry["thumbnail"]]),
            tuple((_positive(mark, names), polygon(mark["points"])) for mark in entry["false_positives"]),
            tuple((_negative(mark, names), polygon(mark["points"])) for mark in entry["false_negatives"]),
        )
        for entry in shown
    ]


def polygon(points: Sequence[float]) -> str:
    """The corners of a box, or of a rotated one, as SVG has them; empty for none."""
    if len(points) == 4:  # noqa: PLR2004 - x1 y1 x2 y2
        left, top, right, bottom = points
        points = (left, top, right, top, right, bottom, left, bottom)
    return " ".join(f"{x:g},{y:g}" for x, y in zip(points[::2], points[1::2], strict=True))


def _positive(mark: Mapping[str, Any], names: Sequence[str]) -> str:
    instead = f" where {names[mark['true_class_id']]} is" if mark["true_class_id"] >= 0 else ""
    return f"{names[mark['class_id']]} {mark['confidence']:.2f}{instead}"


def _negative(mark: Mapping[str, Any], names: Sequence[str]) -> str:
    taken = f", taken for {names[mark['predicted_class_id']]}" if mark["predicted_class_id"] >= 0 else ""
    return f"{names[mark['class_id']]}{taken}"
