"""The page of an import report: one HTML file that needs nothing from outside, made when it is asked for from report, manifest and images.

Names and messages come from strangers: the template escapes all of them, and the page forbids scripts and addresses by a Content-Security-Policy of its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionyard.dataset.doctor.survey import TINY_PX, TRAINING_SIZE_PX
from visionyard.dataset.pages.charts import class_bars, css_colour, size_plot
from visionyard.dataset.pages.contents import Contents, gather
from visionyard.dataset.pages.thumbnails import thumbnails
from visionyard.kit.artifacts.dataset import DatasetVersion, manifest_reader
from visionyard.kit.artifacts.manifest import SPLITS, ManifestRow
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.pages.environment import data_uri, page_environment

_SIDE_PX = 160
_SHEET = 28
_PICTURED = 32
"""Pictures beside findings."""
_PICTURED_A_CODE = 4
_ROWS_A_CODE = 12
_ROWS = 400
_SEVERITIES = ("ERROR", "WARNING", "INFO")
_LEGEND = 24
_NAME_CHARACTERS = 40

Report = Mapping[str, Any]
"""As :meth:`visionyard.dataset.findings.Report.to_json` wrote it."""


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one code.

    Attributes:
        code: The code.
        severity: The gravest of theirs.
        remedy: What to do.
        count: How many the report lists.
        pictured: Some of them, each with the names of its images, the first being its own (or none).
        rows: Some more without pictures.
        unpictured: How many are about a file of which the version holds no image: it was left out, or holds many images' labels.
    """

    code: str
    severity: str
    remedy: str
    count: int
    pictured: tuple[tuple[Mapping[str, Any], tuple[str, ...]], ...]
    rows: tuple[Mapping[str, Any], ...]
    unpictured: int


def group_findings(findings: Sequence[Mapping[str, Any]]) -> list[FindingGroup]:
    """Findings by code, the gravest first; as many of them as the page has room for."""
    order = sorted(findings, key=lambda found: (_SEVERITIES.index(found["severity"]), found["code"]))
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for found in order:
        by_code.setdefault(found["code"], []).append(found)
    groups, room, rows_left = [], _PICTURED, _ROWS
    for code, found_here in by_code.items():
        pictured: list[tuple[Mapping[str, Any], tuple[str, ...]]] = []
        for finding in found_here:
            names = _images(finding)
            if names and len(pictured) < _PICTURED_A_CODE and len(names) <= room:
                pictured.append((finding, names))
                room -= len(names)
        shown = {id(finding) for finding, _ in pictured}
        rows = [finding for finding in found_here if id(finding) not in shown][: min(_ROWS_A_CODE, rows_left)]
        rows_left -= len(rows)
        bare = sum(1 for finding in found_here if finding["file"] and not _images(finding))
        first = found_here[0]
        groups.append(FindingGroup(code, first["severity"], first["remedy"], len(found_here), tuple(pictured), tuple(rows), bare))
    return groups


def _images(finding: Mapping[str, Any]) -> tuple[str, ...]:
    """The finding's image and the first that is related to it."""
    related = finding.get("related", [])
    return tuple(name for name in (finding.get("image", ""), *related[:1]) if name)


def render_report(store: ObjectStore, version: DatasetVersion, report: Report) -> bytes:
    """The page, UTF-8, below 5 MB whatever the report holds. Blocks for a second or so.

    Args:
        store: The bucket.
        version: The version.
        report: The report of the import that made it.

    Raises:
        YardError: ARTIFACT_CORRUPT, the manifest or an image is gone or damaged.
    """
    groups = group_findings(report["findings"])
    asked = {name for group in groups for _, names in group.pictured for name in names}
    contents = gather(version, manifest_reader(store, version)(), asked, _SHEET)
    pictures = _pictures(store, version, [*contents.sheet, *contents.asked.values()])
    template = page_environment(__package__).get_template("report.html.j2")
    return template.render(
        version=version,
        report={"task_reason": "", **report},  # earlier reports have none
        groups=groups,
        severities=_severities(report["findings"]),
        bars=class_bars(contents.survey),
        sizes=size_plot(contents.survey),
        splits=_splits(contents),
        sheet=[(f"{row.split}/{row.name}", _labels_of(version, row)) for row in contents.sheet],
        legend=_legend(version, [*contents.sheet, *contents.asked.values()]),
        pictures=pictures,
        training_size=TRAINING_SIZE_PX,
        tiny=TINY_PX,
    ).encode()


def _pictures(store: ObjectStore, version: DatasetVersion, rows: Iterable[ManifestRow]) -> dict[str, str]:
    """A data URI for each image, by ``{split}/{name}``."""
    distinct = {f"{row.split}/{row.name}": row for row in rows}
    made = thumbnails(store, version, distinct.values(), _SIDE_PX)
    return {f"{row.split}/{row.name}": data_uri(data) for row, data in made}


def _severities(findings: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    counts = dict.fromkeys(_SEVERITIES, 0)
    for found in findings:
        counts[found["severity"]] += 1
    return list(counts.items())


def _splits(contents: Contents) -> list[dict[str, Any]]:
    survey = contents.survey
    total = max(int(survey.images.sum()), 1)
    return [
        {
            "name": split,
            "images": int(survey.images[at]),
            "labels": int(survey.labels[:, at].sum()),
            "backgrounds": int(survey.backgrounds[at]),
            "percent": round(100 * int(survey.images[at]) / total, 3),
            "begin": round(100 * int(survey.images[:at].sum()) / total, 3),
        }
        for at, split in enumerate(SPLITS)
        if survey.images[at]
    ]


def _labels_of(version: DatasetVersion, row: ManifestRow) -> str:
    """An image's labels in a few words."""
    counts = Counter(label.class_id for label in row.labels).most_common()
    words = [
        version.classes[class_id].name[:_NAME_CHARACTERS] + (f" \N{MULTIPLICATION SIGN} {count}" if count > 1 else "")
        for class_id, count in counts[:2]
    ]
    return ", ".join(words) + (f" and {len(counts) - 2} more" if len(counts) > 2 else "") if words else "no label"  # noqa: PLR2004 - the two shown


def _legend(version: DatasetVersion, rows: Iterable[ManifestRow]) -> list[tuple[str, str]]:
    """Name and colour of the classes that the pictures show, the most frequent first."""
    ids = {label.class_id for row in rows for label in row.labels}
    shown = sorted((entry for entry in version.classes if entry.id in ids), key=lambda entry: -entry.label_count)
    return [(entry.name, css_colour(entry.id)) for entry in itertools.islice(shown, _LEGEND)]
