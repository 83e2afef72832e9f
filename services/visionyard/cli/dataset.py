"""``yard dataset``: import, list, show, report, download, delete."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import following, output
from visionyard.cli.options import AsJson, DatasetVersion, Detach, Directory, DryRun, To, example
from visionyard.cli.pages import save_preview, save_report
from visionyard.cli.pending import Pending
from visionyard.cli.session import Session, run
from visionyard.client.errors import local
from visionyard.client.imports import DATUMARO, ImportOptions
from visionyard.client.references import References, short
from visionyard.client.sources import Source, is_address, open_labels, open_source
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2, import_job_pb2, import_job_service_pb2
from visionyard.kit.errors import Reason

app = typer.Typer(help="Datasets: import, list, show, report, download, delete.", no_args_is_help=True)
_SPLITS = (2, 3)
_MAX_SEED = 2**63 - 1


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
Seed = Annotated[int, typer.Option("--seed", min=0, max=_MAX_SEED, help="Seed of what is drawn.")]


@app.command(
    "import",
    epilog=example(
        "yard dataset import cones.zip --name cones",
        "yard dataset import ./voc --name blood --format voc --split 0.8,0.1,0.1 --seed 7",
        "yard dataset import s3://labels/cones/ --name cones",
        "yard dataset import ./kitti --name roads --format datumaro:kitti_detection",
        "yard dataset import annotations.xml --images ./photos --name street --dry-run",
    ),
)
def import_(
    path: PathOrUrl,
    name: Annotated[str, typer.Option("--name", help="The dataset that gets a new version.")],
    source_format: Format = SourceFormat.AUTO,
    task: Annotated[Task, typer.Option("--task", help="What the labels are to be for; auto tells by their shapes.")] = Task.AUTO,
    images: Images = None,
    split: Split = "",
    seed: Seed = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the source if a finding is an error.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely; the report lists it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look only: print the report, make no version.")] = False,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Import a labelled archive or folder as a new version of a dataset."""
    options = ImportOptions(
        source_format=source_format,
        task=task.value,
        split_ratios=ratios_of(split) if split else [],
        seed=seed,
        strict=strict,
        fix=fix,
        dry_run=dry_run,
    )
    run(partial(bring_in, path, name, images, options, detach=detach), as_json=as_json, directory=directory)


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
    mended = sum(finding.fixed for finding in report.findings)
    if mended:
        output.write(f"mended {mended} findings; see `yard dataset report {short(version.name)}`")
    if report.images.dropped or report.labels.dropped:
        output.write(
            f"dropped {report.images.dropped} of {report.images.found} images and {report.labels.dropped} of {report.labels.found} labels; "
            f"see `yard dataset report {short(version.name)}`"
        )


@app.command("list", epilog=example("yard dataset list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the datasets of the project."""

    async def work(session: Session) -> None:
        datasets = await session.client.datasets.list()
        rows = [
            (short(d.latest_version.name), d.latest_version.image_count, d.latest_version.label_count, len(d.latest_version.classes), output.time(d.update_time))
            for d in datasets
        ]  # fmt: skip
        session.show(
            dataset_service_pb2.ListDatasetsResponse(datasets=datasets),
            lambda: output.table(
                ("DATASET", "IMAGES", "LABELS", "CLASSES", "UPDATED"), rows, right=frozenset({1, 2, 3}), empty="no datasets"
            ),
        )

    run(work, as_json=as_json, directory=directory)


@app.command(
    "show",
    epilog=example("yard dataset show cones", "yard dataset show cones@2 --json", "yard dataset show cones --open --class cone --count 50"),
)
def show(
    name: DatasetVersion,
    open_: Annotated[bool, typer.Option("--open", help="Show pictures with their labels in the browser.")] = False,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the pictures to this HTML file.")] = None,
    split: Annotated[str, typer.Option("--split", metavar="SPLIT", help="Pictures of train, val or test only.")] = "",
    class_name: Annotated[str, typer.Option("--class", metavar="CLASS", help="Pictures with a label of this class only.")] = "",
    count: Annotated[int, typer.Option("--count", min=1, max=1000, metavar="N", help="At most so many pictures.")] = 100,
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=_MAX_SEED, help="Draw the pictures by it; else the first ones.")] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Show a version of a dataset: counts, classes, splits, digest; or, with --open or --html, its pictures."""

    async def work(session: Session) -> None:
        if open_ or page:
            await save_preview(session, name, page, split=split, class_name=class_name, count=count, seed=seed, show=open_)
            return
        version = await session.client.datasets.get_version(name)
        session.show(dataset_service_pb2.GetDatasetVersionResponse(dataset_version=version), lambda: _version(version))

    run(work, as_json=as_json, directory=directory)


def _version(version: dataset_pb2.DatasetVersion) -> None:
    output.fields(
        [
            ("dataset", short(version.name)),
            ("task", output.enum_word(dataset_pb2.Task.Name(version.task), "TASK_")),
            ("images", version.image_count),
            ("labels", version.label_count),
            ("size", output.size(version.total_bytes)),
            ("stored", f"{output.size(version.stored_bytes)} added to the store"),
            ("format", version.source_format),
            ("digest", version.digest),
            ("created", output.time(version.create_time)),
            ("made by", _origin(version)),
            ("import job", short(version.import_job)),
        ]
    )
    output.write("")
    output.table(("SPLIT", "IMAGES", "LABELS"), [(s.name, s.image_count, s.label_count) for s in version.splits], right=frozenset({1, 2}))
    output.write("")
    output.table(
        ("ID", "CLASS", "LABELS"), [(c.id, c.name, c.label_count) for c in version.classes], right=frozenset({0, 2}), empty="no classes"
    )


def _origin(version: dataset_pb2.DatasetVersion) -> str:
    sources = " ".join(map(short, version.origin.sources))
    return f"{version.origin.operation} {sources}".strip() or "import"


@app.command("report", epilog=example("yard dataset report cones", "yard dataset report cones@2 --html report.html"))
def report(
    name: DatasetVersion,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page with pictures, for a browser.")] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Show what the import of a version found: what was dropped, where, and what to do about it."""

    async def work(session: Session) -> None:
        if page:
            await save_report(session, name, page)
            return
        found = await session.client.datasets.report(name)
        session.show(dataset_service_pb2.GetImportReportResponse(report=found), lambda: show_report(found))

    run(work, as_json=as_json, directory=directory)


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
        for f in found.findings
    ]  # fmt: skip
    output.table(("SEVERITY", "CODE", "WHERE", "WHAT, AND WHAT TO DO"), rows, empty="no findings")
    if found.findings_truncated:
        output.write("there were more findings than are listed; the counts are whole")


class Layout(StrEnum):
    """What ``--format`` of a download takes."""

    YOLO = "yolo"
    COCO = "coco"
    VOC = "voc"
    LABELSTUDIO = "labelstudio"
    CVAT = "cvat"


@app.command(
    "download",
    epilog=example("yard dataset download cones@1 --to ./cones", "yard dataset download cones --to ./review --format cvat --uncertain 100"),
)
def download(
    name: DatasetVersion,
    to: To,
    layout: Annotated[
        Layout, typer.Option("--format", help="How to write it down: yolo is the folder that Ultralytics reads.")
    ] = Layout.YOLO,
    uncertain: Annotated[
        int, typer.Option("--uncertain", min=0, metavar="N", help="Only the N images whose predicted labels are least certain.")
    ] = 0,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Download a version: images and labels, for training elsewhere or for a labelling tool. An interrupted download goes on."""

    async def work(session: Session) -> None:
        folder = to.expanduser()
        if folder.exists() and not folder.is_dir():
            raise local(Reason.INVALID_FIELD, f"{folder} is not a folder; choose another with --to", {"field": "to"})
        done = await session.client.datasets.download(
            name, folder, lambda _, d, total: session.progress.bytes("downloading", d, total), layout=layout.value, uncertain=uncertain
        )
        document = {"name": done.name, "directory": str(folder), "file_count": done.file_count, "total_bytes": done.total_bytes}
        session.show_document(
            document, lambda: output.write(f"{short(done.name)}: {done.file_count} files, {output.size(done.total_bytes)}, in {folder}")
        )

    run(work, as_json=as_json, directory=directory)


@app.command("delete", epilog=example("yard dataset delete cones@1 --dry-run", "yard dataset delete cones"))
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME[@V]", help="A dataset with all its versions, or one version.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Delete a dataset or one version, unless a job, model or deployment still uses it. `yard storage collect` then frees its bytes."""

    async def work(session: Session) -> None:
        datasets = session.client.datasets
        whole = "@" not in name and "/versions/" not in name
        delete_it = datasets.delete if whole else datasets.delete_version
        gone = await delete_it(name, dry_run=dry_run)
        answer = dataset_service_pb2.DeleteDatasetResponse if whole else dataset_service_pb2.DeleteDatasetVersionResponse
        session.show(answer(deletion=gone), lambda: _deleted(gone, dry_run=dry_run))

    run(work, as_json=as_json, directory=directory)


def _deleted(gone: dataset_service_pb2.DatasetDeletion, *, dry_run: bool) -> None:
    for version in gone.versions:
        output.write(f"{short(version)}: {'would be deleted' if dry_run else 'deleted'}")
    output.write(f"`yard storage collect` can then free up to {output.size(gone.freeable_bytes)}")
