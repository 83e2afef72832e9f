"""What importing commands share: how a source and its options are named, bringing it in, and showing what came of it and what was found."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import following, output
from visionyard.cli.pending import Pending
from visionyard.cli.session import Session
from visionyard.client.imports import DATUMARO, ImportOptions
from visionyard.client.references import References, short
from visionyard.client.sources import Source, is_address, open_labels, open_source
from visionyard.dataset.v1 import dataset_pb2, import_job_pb2, import_job_service_pb2

_SPLITS = (2, 3)
MAX_SEED = 2**63 - 1
"""The largest seed that a request can carry."""


class SourceFormat(StrEnum):
    """What ``--format`` takes besides Datumaro's formats."""

    YOLO = "yolo"
    VOC = "voc"
    COCO = "coco"
    LABELSTUDIO = "labelstudio"
    LABELME = "labelme"
    LABELME3 = "labelme3"
    CVAT = "cvat"
    CREATEML = "createml"
    VIA = "via"
    FOLDERS = "folders"
    PREDICTIONS = "predictions"
    AUTO = "auto"


class Task(StrEnum):
    """What ``--task`` takes."""

    AUTO = "auto"
    DETECT = "detect"
    SEGMENT = "segment"
    CLASSIFY = "classify"
    POSE = "pose"
    OBB = "obb"


def ratios_of(text: str) -> list[float]:
    """Shares of train, val and, as a third, test.

    Raises:
        typer.BadParameter: they are none.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        ratios = []
    if len(ratios) not in _SPLITS or any(not 0 <= ratio <= 1 for ratio in ratios) or not math.isclose(sum(ratios), 1, abs_tol=1e-6):
        raise typer.BadParameter(f"{text!r}: give the shares of train, val and, as a third, test, together 1, like 0.8,0.1,0.1")
    return ratios


PathOrUrl = Annotated[
    str,
    typer.Argument(
        metavar="PATH|URL",
        help="An archive (zip, tar, tar.gz, tar.zst), a folder, or a single annotation file; or the https:// or s3:// address of an archive or folder, fetched by the service "
        "if its settings allow it.",
    ),
]
_FORMATS = tuple(known.value for known in SourceFormat)
_DATUMARO_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


def format_of(text: str) -> str:
    """What ``--format`` takes: a format that the service reads, or ``datumaro:`` and one of Datumaro's.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text in _FORMATS or (text.startswith(DATUMARO) and _DATUMARO_NAME.fullmatch(text.removeprefix(DATUMARO))):
        return text
    raise typer.BadParameter(f"{text!r}: use one of {', '.join(_FORMATS)}, or datumaro:NAME with a format of Datumaro's")


def _formats(incomplete: str) -> list[str]:
    return [name for name in (*_FORMATS, DATUMARO) if name.startswith(incomplete)]


Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        parser=format_of,
        autocompletion=_formats,
        help=f"How the labels are written: {', '.join(_FORMATS)} (found out), or datumaro:NAME for any that Datumaro reads.",
    ),
]
Images = Annotated[Path | None, typer.Option("--images", metavar="DIR", help="A folder or archive of images that the labels belong to.")]
Split = Annotated[
    str,
    typer.Option("--split", metavar="R,R[,R]", help="Draw the splits anew: shares of train, val and test. Else the source's own are kept."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of what is drawn.")]


async def bring_in(
    path: str,
    name: str,
    images: Path | None,
    options: ImportOptions,
    session: Session,
    *,
    detach: bool,
    opened: Callable[[Path], Source] = open_labels,
) -> None:
    """Uploads a source (or names its address) and imports it, or joins the import that an earlier run of the same command began."""
    imports = session.client.imports
    References(session.client.project).resource("datasets", name)
    address = path if is_address(path) else ""
    sources = [*([] if address else [opened(Path(path))]), *([open_source(images)] if images else [])]
    for sentence in (sentence for source in sources for sentence in source.skipped):
        session.progress.say(sentence)
    identities = [await source.identity() for source in sources]
    options["source_name"] = "" if address else output.plain(sources[0].name)

    async def create(uploads: list[str], request_id: str) -> import_job_pb2.ImportJob:
        upload, images_upload = "" if address else uploads[0], uploads[-1] if images else ""
        return await imports.create(name, upload, source_url=address, images_upload=images_upload, request_id=request_id, **options)

    with session.pending("dataset import", name=name, url=address, sources=identities, **options) as pending:
        job = await following.begin_with_uploads(session, "dataset", sources, pending, create, imports.get)
        await conclude(session, job, pending, detach=detach)


async def conclude(session: Session, job: import_job_pb2.ImportJob, pending: Pending, *, detach: bool) -> None:
    """Follows an import job to its end and shows what came of it; or only says which it is."""
    if detach:
        session.show(import_job_service_pb2.CreateImportJobResponse(import_job=job), lambda: output.write(short(job.name)))
        return
    job = await following.follow(session, session.client.imports, job, pending)
    session.show(import_job_service_pb2.GetImportJobResponse(import_job=job), lambda: imported(job))


def imported(job: import_job_pb2.ImportJob) -> None:
    """An import that ended well, for people."""
    version, report = job.dataset_version, job.report
    if job.spec.dry_run:
        output.write("a dry run: nothing was made")
        show_report(report)
        return
    splits = ", ".join(f"{split.name} {split.image_count}" for split in version.splits)
    task = output.enum_word(dataset_pb2.Task.Name(version.task), "TASK_")
    output.write(f"{short(version.name)}: {version.image_count} images ({splits}), {version.label_count} labels, {task}")
    output.write(version.digest)
    if report.format_reason:
        output.write(output.plain(f"read as {report.format}: {report.format_reason}"))
    mended = sum(finding.fixed for finding in report.findings)
    if mended:
        output.write(f"mended {mended} findings; see `yard dataset report {short(version.name)}`")
    if report.images.dropped or report.labels.dropped:
        output.write(
            f"dropped {report.images.dropped} of {report.images.found} images and {report.labels.dropped} of {report.labels.found} labels; "
            f"see `yard dataset report {short(version.name)}`"
        )
    # What was not dropped may be wrong all the same: leakage, classes that disagree, pictures of another size.
    grave = Counter(dataset_pb2.Severity.Name(finding.severity) for finding in report.findings if not finding.fixed)
    errors, warnings = grave["SEVERITY_ERROR"], grave["SEVERITY_WARNING"]
    if errors or warnings:
        output.write(f"errors found: {errors}, warnings: {warnings}; see `yard dataset report {short(version.name)}`")


def show_report(found: dataset_pb2.ImportReport) -> None:
    """A report, for people."""
    output.fields(
        [
            ("format", f"{found.format}: {found.format_reason}" if found.format_reason else found.format),
            ("task", found.task_reason),
            ("splits", found.split_reason),
        ]
    )
    counts = [(what, c.found, c.kept, c.dropped) for what, c in (("images", found.images), ("labels", found.labels))]
    output.table(("", "FOUND", "KEPT", "DROPPED"), counts, right=frozenset({1, 2, 3}))
    if found.dropped_by_code:
        output.write("")
        output.table(("LABELS DROPPED FOR", "COUNT"), sorted(found.dropped_by_code.items()), right=frozenset({1}))
    output.write("")
    rows = [
        (output.enum_word(dataset_pb2.Severity.Name(f.severity), "SEVERITY_"), f.code, f"{f.file}:{f.line}" if f.line else f.file, f"{f.message} {f.remedy}".strip())
        for f in sorted(found.findings, key=lambda f: -f.severity)  # the gravest first
    ]  # fmt: skip
    output.table(("SEVERITY", "CODE", "WHERE", "WHAT, AND WHAT TO DO"), rows, empty="no findings")
    if found.findings_truncated:
        output.write("there were more findings than are listed; the counts are whole")
