"""``yard model``: list, show, push, download; ``fetch`` is in :mod:`visionyard.cli.fetching`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import following, output
from visionyard.cli.options import AsJson, Directory, ModelVersion, To, example
from visionyard.cli.session import Session, run
from visionyard.client.references import References, short
from visionyard.client.sources import Source, open_source
from visionyard.training.v1 import model_pb2, model_service_pb2

app = typer.Typer(help="Models: list, show, push, fetch, download.", no_args_is_help=True)


@app.command("list", epilog=example("yard model list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the models of the project."""

    async def work(session: Session) -> None:
        models = await session.client.models.list()
        rows = [
            (
                short(m.latest_version.name),
                output.enum_word(model_pb2.ModelTask.Name(m.latest_version.task), "MODEL_TASK_"),
                len(m.latest_version.class_names),
                f"{m.latest_version.parameter_count:,}",
                _origin(m.latest_version),
                output.time(m.update_time),
            )
            for m in models
        ]
        headers = ("MODEL", "TASK", "CLASSES", "PARAMETERS", "FROM", "UPDATED")
        session.show(
            model_service_pb2.ListModelsResponse(models=models),
            lambda: output.table(headers, rows, right=frozenset({2, 3}), empty="no models"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("show", epilog=example("yard model show cones", "yard model show cones@2 --json"))
def show(name: ModelVersion, as_json: AsJson = False, directory: Directory = None) -> None:
    """Show a version of a model: classes, size, where it comes from, metrics."""

    async def work(session: Session) -> None:
        version = await session.client.models.get_version(name)
        session.show(model_service_pb2.GetModelVersionResponse(model_version=version), lambda: shown(version))

    run(work, as_json=as_json, directory=directory)


def shown(version: model_pb2.ModelVersion) -> None:
    """A model version for people."""
    output.fields(
        [
            ("model", short(version.name)),
            ("task", output.enum_word(model_pb2.ModelTask.Name(version.task), "MODEL_TASK_")),
            ("parameters", f"{version.parameter_count:,}"),
            ("image size", f"{version.image_size_px} px"),
            ("from", _origin(version)),
            ("fetched from", version.fetched_from),
            ("best by", version.best_metric),
            ("head", "untrained: this is a start for training" if version.head_untrained else ""),
            ("dataset", short(version.dataset_version) if version.dataset_version else ""),
            ("digest", version.digest),
            ("created", output.time(version.create_time)),
            ("classes", ", ".join(version.class_names)),
            *((key, f"{value:.4g}") for key, value in sorted(version.metrics.items())),
        ]
    )


def _origin(version: model_pb2.ModelVersion) -> str:
    return f"job {short(version.training_job)}" if version.WhichOneof("origin") == "training_job" else version.pushed_file


@app.command("push", epilog=example("yard model push best.pt --name cones", "yard model push resnet34.pth --arch resnet34 --name start"))
def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weight file of Ultralytics; with --arch a state dict (.pth).")],
    name: Annotated[str, typer.Option("--name", help="The model that gets a new version.")],
    arch: Annotated[
        str, typer.Option("--arch", metavar="NETWORK", help="The file is the state dict of this torchvision network, such as resnet34.")
    ] = "",
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Push a weight file as a new version of a model; the bytes of its newest version again make no new one."""

    async def work(session: Session) -> None:
        References(session.client.project).resource("models", name)
        version = await push_file(session, open_source(file), name, arch)
        session.show(model_service_pb2.CreateModelVersionResponse(model_version=version), lambda: shown(version))

    run(work, as_json=as_json, directory=directory)


async def push_file(
    session: Session, source: Source, name: str, architecture: str = "", fetched_from: str = "", source_name: str = ""
) -> model_pb2.ModelVersion:
    """Uploads a weight file and makes a model version of it; an earlier, killed run's upload goes on. ``source_name`` stands for the file's own name."""
    digest = await source.sha256(following.transfer(session, source.name))
    with session.pending("model push", name=name, sha256=digest, architecture=architecture, fetched_from=fetched_from) as pending:
        upload = await session.client.uploads.upload(
            "training", source, request_id=pending.request_id, on_progress=following.transfer(session, source.name)
        )
        session.progress.bytes("opening it in a worker", 0, 0)
        return await session.client.models.create_version(
            name,
            upload.name,
            source_name=output.plain(source_name or source.name),
            request_id=pending.request_id,
            architecture=architecture,
            fetched_from=fetched_from,
        )


@app.command("download", epilog=example("yard model download cones@2 --to ./weights"))
def download(name: ModelVersion, to: To, as_json: AsJson = False, directory: Directory = None) -> None:
    """Download the files of a version. An interrupted download goes on."""

    async def work(session: Session) -> None:
        folder = to.expanduser()
        version = await session.client.models.get_version(name)
        files = await session.client.models.list_files(version.name)
        await session.client.models.download(
            version.name, folder, lambda path, d, total: session.progress.bytes(f"downloading {path}", d, total)
        )
        document = {
            "name": version.name,
            "directory": str(folder),
            "files": output.message_json(model_service_pb2.ListModelFilesResponse(files=files))["files"],
        }
        session.show_document(
            document,
            lambda: output.table(("FILE", "SIZE"), [(folder / f.path, output.size(f.size_bytes)) for f in files], right=frozenset({1})),
        )

    run(work, as_json=as_json, directory=directory)
