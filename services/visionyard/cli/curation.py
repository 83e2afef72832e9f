"""``yard dataset``: merge, filter, remap, split, subset, append, diff: versions made of versions. They join the commands of :mod:`.dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import dataset, following, output
from visionyard.cli.bringing_in import Format, Images, Seed, SourceFormat, Split, bring_in, conclude, ratios_of
from visionyard.cli.options import AsJson, DatasetVersion, Detach, Directory, example
from visionyard.cli.pending import Pending
from visionyard.cli.session import Session, run
from visionyard.client.imports import ImportOptions
from visionyard.client.prediction_source import PredictionsSource
from visionyard.client.references import short
from visionyard.client.sources import open_labels
from visionyard.dataset.v1 import dataset_service_pb2, import_job_pb2

app = dataset.app

Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="FROM=TO", help="Call the class FROM by the name TO. May be given several times.")
]


def _names(pairs: list[str] | None) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs or []:
        old, equals, new = pair.partition("=")
        if not equals or not old or not new:
            raise typer.BadParameter(f"{pair!r}: write --map FROM=TO", param_hint="--map")
        names[old] = new
    return names


async def _derive(dataset: str, derivation: import_job_pb2.Derivation, session: Session, *, detach: bool) -> None:
    """Makes a version of others; ``dataset`` is empty for that of its source.

    What counts as the same command is how it was written: the version that it makes is often the newest from then on, so after a kill the same words would mean another one.
    """
    operation = str(derivation.WhichOneof("operation"))
    asked = getattr(derivation, operation)
    written = list(asked.sources) if operation == "merge" else [asked.source]
    decides = {"dataset": dataset, "derivation": derivation.SerializeToString(deterministic=True).hex()}
    imports = session.client.imports
    with session.pending(f"dataset {operation}", **decides) as pending:

        async def create(request_id: str) -> import_job_pb2.ImportJob:
            sources = await _sources(session, pending, written)
            if operation == "merge":
                asked.sources[:] = sources
            else:
                asked.source = sources[0]
            return await imports.derive(dataset or sources[0].rpartition("/versions/")[0], derivation, request_id=request_id)

        job = await following.begin(session, pending, create, imports.get)
        await conclude(session, job, pending, detach=detach)


async def _sources(session: Session, pending: Pending, written: Sequence[str]) -> list[str]:
    """The versions that are meant, with their numbers: those that an earlier, killed run of the same command had found, else as it is now."""
    if noted := pending.facts.get("sources"):
        names = noted.split(",")
        session.progress.say(f"an earlier run of this command had begun with {', '.join(map(short, names))}; it goes on with that")
        return names
    names = [(await session.client.datasets.get_version(name)).name for name in written]
    pending.note(sources=",".join(names))
    return names


@app.command("merge", epilog=example("yard dataset merge cones cubes@2 --name both", "yard dataset merge a b --name c --map Cone=cone"))
def merge(
    sources: Annotated[list[str], typer.Argument(metavar="A[@V] B[@V]...", help="The versions.")],
    name: Annotated[str, typer.Option("--name", help="The dataset that gets the merged version.")],
    mapping: Map = None,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Put versions together: classes of one name become one class, an image of both is held once. No image is copied."""
    derivation = import_job_pb2.Derivation(merge=import_job_pb2.Merge(sources=sources, class_names=_names(mapping)))
    run(partial(_derive, name, derivation, detach=detach), as_json=as_json, directory=directory)


@app.command("filter", epilog=example("yard dataset filter street --classes car,bus --drop-empty"))
def filter_(
    name: DatasetVersion,
    classes: Annotated[str, typer.Option("--classes", metavar="A,B", help="Keep the labels of these classes only.")] = "",
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Images without a label go too.")] = False,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Keep some classes, or images with labels only, as a new version."""
    names = [part.strip() for part in classes.split(",") if part.strip()]
    if not names and not drop_empty:
        raise typer.BadParameter("nothing would change: give --classes or --drop-empty")
    derivation = import_job_pb2.Derivation(filter=import_job_pb2.Filter(source=name, classes=names, drop_empty=drop_empty))
    run(partial(_derive, "", derivation, detach=detach), as_json=as_json, directory=directory)


@app.command("remap", epilog=example("yard dataset remap street --map lorry=truck", "yard dataset remap street --single-class object"))
def remap(
    name: DatasetVersion,
    mapping: Map = None,
    single_class: Annotated[str, typer.Option("--single-class", metavar="CLASS", help="Make one class of all, of this name.")] = "",
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Rename classes as a new version; several that get one name become one class."""
    names = _names(mapping)
    if bool(names) == bool(single_class):
        raise typer.BadParameter("give --map FROM=TO, or --single-class CLASS")
    derivation = import_job_pb2.Derivation(remap=import_job_pb2.Remap(source=name, class_names=names, single_class=single_class))
    run(partial(_derive, "", derivation, detach=detach), as_json=as_json, directory=directory)


@app.command(
    "split",
    epilog=example(
        "yard dataset split cones --ratios 0.8,0.1,0.1 --seed 7", "yard dataset split scans --ratios 0.8,0.2 --group-by '^(patient\\d+)'"
    ),
)
def split(
    name: DatasetVersion,
    ratios: Annotated[str, typer.Option("--ratios", metavar="R,R[,R]", help="The shares of train, val and, as a third, test.")],
    seed: Seed = 0,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by",
            metavar="REGEX|similar",
            help="Keep images together: of one key in their names (the first group of a regular expression), or that look alike.",
        ),
    ] = "",
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Draw the splits anew, as a new version."""
    similar = group_by == "similar"
    asked = import_job_pb2.Resplit(
        source=name, ratios=ratios_of(ratios), seed=seed, group_pattern="" if similar else group_by, group_similar=similar
    )
    run(partial(_derive, "", import_job_pb2.Derivation(split=asked), detach=detach), as_json=as_json, directory=directory)


@app.command("subset", epilog=example("yard dataset subset cones --size 50 --seed 1"))
def subset(
    name: DatasetVersion,
    size: Annotated[int, typer.Option("--size", min=1, metavar="N", help="How many images.")],
    seed: Seed = 0,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Keep some images, drawn so that splits and classes keep their shares, as a new version."""
    derivation = import_job_pb2.Derivation(subset=import_job_pb2.Subset(source=name, size=size, seed=seed))
    run(partial(_derive, "", derivation, detach=detach), as_json=as_json, directory=directory)


@app.command("publish", epilog=example("yard dataset publish flowers", "yard train shared/flowers --model yolo11n-cls.yaml"))
def publish(name: DatasetVersion, detach: Detach = False, as_json: AsJson = False, directory: Directory = None) -> None:
    """Copy a version to the shared project, where every project can use it as shared/NAME."""

    async def work(session: Session) -> None:
        source = (await session.client.datasets.get_version(name)).name
        dataset = source.split("/")[3]
        derivation = import_job_pb2.Derivation(publish=import_job_pb2.Publish(source=source))
        await _derive(f"projects/shared/datasets/{dataset}", derivation, session, detach=detach)

    run(work, as_json=as_json, directory=directory)


@app.command(
    "append",
    epilog=example(
        "yard dataset append cones ./more",
        "yard dataset append cones corrected.zip",
        "yard predict cones-live new/*.jpg --json > seen.jsonl",
        "yard dataset append cones --from-predictions seen.jsonl",
    ),
)
def append(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset whose newest version is added to.")],
    path: Annotated[str, typer.Argument(metavar="[PATH|URL]", help="As for import; or --from-predictions.", show_default=False)] = "",
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--from-predictions",
            metavar="FILE",
            help="What `yard predict --json` printed: its images, with the predicted labels, marked as such until a person has corrected them.",
        ),
    ] = None,
    source_format: Format = SourceFormat.AUTO,
    images: Images = None,
    split: Split = "",
    seed: Seed = 0,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Add images to a dataset, or give those that it holds other labels, as a new version. Only new images are stored."""
    if bool(path) == (predictions is not None):
        raise typer.BadParameter("give a PATH (or URL), or --from-predictions FILE")
    read_as = SourceFormat.PREDICTIONS if predictions else source_format
    options = ImportOptions(source_format=read_as, split_ratios=ratios_of(split) if split else [], seed=seed, append=True)
    opened = PredictionsSource if predictions else open_labels
    work = partial(bring_in, str(predictions or path), name, images, options, detach=detach, opened=opened)
    run(work, as_json=as_json, directory=directory)


@app.command("diff", epilog=example("yard dataset diff cones@1 cones@2"))
def diff(
    name: DatasetVersion,
    other: Annotated[str, typer.Argument(metavar="NAME[@V]", help="The version to compare it with.")],
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Show what differs between two versions: images, labels, classes."""

    async def work(session: Session) -> None:
        found = await session.client.datasets.diff(name, other)
        session.show(dataset_service_pb2.DiffDatasetVersionsResponse(diff=found), lambda: _diff(found))

    run(work, as_json=as_json, directory=directory)


_SHOWN = 10


def _diff(found: dataset_service_pb2.DatasetDiff) -> None:
    output.write(f"{short(found.name)} → {short(found.other)}: {found.unchanged_count} images unchanged")
    changes = (
        ("added", found.added),
        ("removed", found.removed),
        ("relabelled", found.relabelled),
        ("moved to another split", found.moved),
    )
    rows = [
        (what, change.image_count, ", ".join(change.images[:_SHOWN]) + (", ..." if change.image_count > _SHOWN else ""))
        for what, change in changes
    ]
    output.table(("IMAGES", "COUNT", "WHICH"), rows, right=frozenset({1}))
    output.write("")
    changed = [c for c in found.classes if c.label_count != c.other_label_count]
    classes = [(c.name, c.label_count, c.other_label_count, f"{c.other_label_count - c.label_count:+d}") for c in changed]
    output.table(
        ("CLASS", "BEFORE", "AFTER", "CHANGE"), classes, right=frozenset({1, 2, 3}), empty="every class has as many labels as before"
    )
    if changed and len(changed) < len(found.classes):
        output.write(f"the other {len(found.classes) - len(changed)} classes have as many labels as before")
