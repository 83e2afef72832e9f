"""``yard dataset``: import, list, show, report, download, delete."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import output
from visionyard.cli.bringing_in import (
    MAX_SEED,
    Format,
    Images,
    PathOrUrl,
    Seed,
    SourceFormat,
    Split,
    Task,
    bring_in,
    ratios_of,
    show_report,
)
from visionyard.cli.options import AsJson, DatasetVersion, Detach, Directory, DryRun, To, example
from visionyard.cli.pages import save_preview, save_report
from visionyard.cli.session import Session, run
from visionyard.client.errors import local
from visionyard.client.imports import ImportOptions
from visionyard.client.references import short
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2
from visionyard.kit.errors import Reason

app = typer.Typer(help="Datasets: import, list, show, report, download, delete.", no_args_is_help=True)


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
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="Draw the pictures by it; else the first ones.")] = None,
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
        if done.others:
            session.progress.say(
                f"{folder} also holds {len(done.others)} files that are none of {short(done.name)}, {output.plain(done.others[0])} the first: "
                "whoever trains on the folder may train on them too; download into an empty folder to be sure"
            )
        document = {
            "name": done.name,
            "directory": str(folder),
            "file_count": done.file_count,
            "total_bytes": done.total_bytes,
            "other_file_count": len(done.others),
        }
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
    output.write(f"`yard storage collect` can then free {output.size(gone.freeable_bytes)}, less the images that other versions hold too")
