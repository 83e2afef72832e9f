"""``yard model fetch``: weights that Ultralytics publishes, by name, once; never without being asked."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import output
from visionyard.cli.models import app, push_file, shown
from visionyard.cli.options import AsJson, Directory, example
from visionyard.cli.session import Session, run
from visionyard.client.errors import local
from visionyard.client.fetching import Download
from visionyard.client.references import References, short
from visionyard.client.sources import open_source
from visionyard.kit.errors import Reason
from visionyard.kit.web.urls import FILE_ORIGIN, Url
from visionyard.training.v1 import model_pb2, model_service_pb2

__all__ = ["app", "fetch"]
_FOLDER = "fetched"


@app.command(
    "fetch",
    epilog=example(
        "yard model fetch yolo11n-seg.pt",
        "yard model fetch yolov8n.pt --from ./yolov8n.pt",
        "yard model fetch yolov8n.pt --from https://mirror.example/yolov8n.pt",
    ),
)
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A file that Ultralytics publishes, such as yolo11n.pt or rtdetr-l.pt.")],
    source: Annotated[
        str, typer.Option("--from", metavar="URL|FILE", help="Take it from there, not from Ultralytics' release or the service's mirror.")
    ] = "",
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Get weights that Ultralytics publishes as a model of the project, once."""

    async def work(session: Session) -> None:
        official = await session.client.models.locate_official_weights(name)
        References(session.client.project).resource("models", Path(name).stem)
        version = None if source else await _fetched_before(session, name)
        if version is None:
            at_home = source and "://" not in source
            version = await _from_file(session, name, _file(source)) if at_home else await _from_address(session, name, source or official)
        session.show(model_service_pb2.CreateModelVersionResponse(model_version=version), lambda: shown(version))

    run(work, as_json=as_json, directory=directory)


async def _fetched_before(session: Session, name: str) -> model_pb2.ModelVersion | None:
    """The version that an earlier fetch made; nothing is downloaded for it again."""
    version = next(iter(await _fetched(session, name)), None)
    if version is not None:
        session.progress.say(
            f"{short(version.name)} was fetched before, from {version.fetched_from}: nothing is downloaded; --from takes another one"
        )
    return version


async def _fetched(session: Session, name: str) -> list[model_pb2.ModelVersion]:
    """The versions that earlier fetches of these weights made, newest first. What was pushed or trained under the model's name is none of them."""
    versions = await session.client.models.versions_or_none(Path(name).stem)
    return [version for version in versions if version.pushed_file == name and version.fetched_from]


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise local(Reason.FILE_NOT_FOUND, f"there is no file {path}; --from takes a file or an address", {"path": str(path)})
    return path


async def _from_file(session: Session, name: str, path: Path) -> model_pb2.ModelVersion:
    """The version's origin is the file's name alone: the folder that it lies in concerns nobody else, and others mean nothing by it."""
    return await _taken(session, name, path, f"{FILE_ORIGIN}{output.plain(path.name)}")


async def _from_address(session: Session, name: str, address: str) -> model_pb2.ModelVersion:
    try:
        url = Url.parse(address)
    except ValueError as error:
        raise local(Reason.INVALID_FIELD, f"--from: the address {error}", {"field": "from"}) from None  # not shown: it may hold a password
    # One folder an address: what broke off there goes on there.
    path = session.state_dir / _FOLDER / hashlib.sha256(f"{address}\n{name}".encode()).hexdigest()[:32] / name
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise InterruptedError("the command was stopped")

    loop = asyncio.get_running_loop()

    def told(done: int, total: int) -> None:
        loop.call_soon_threadsafe(session.progress.bytes, f"fetching {name}", done, total)

    download = Download(url, path, check, told)
    try:
        await asyncio.to_thread(download.run)
    finally:
        stop.set()  # where this task was cancelled, its thread ends soon
    version = await _taken(session, name, path, url.shown)
    download.discard()
    return version


async def _taken(session: Session, name: str, path: Path, fetched_from: str) -> model_pb2.ModelVersion:
    """The model version with the file's bytes: the one that was fetched with them, or a new one, under the published name whatever the file is called.

    Where they were pushed before, without a word of where they are from, and newer ones are there, those stay the newest: whoever names the model means them.
    """
    source, model = open_source(path), Path(name).stem
    digest = f"sha256:{await source.sha256(None)}"
    fetched, behind = await _fetched(session, name), (await session.client.models.versions_or_none(model))[1:]
    known = next((version for version in (*fetched, *behind) if version.digest == digest), None)
    if known is not None:
        session.progress.say(f"{short(known.name)} holds these very bytes already: there is no new version")
        return known
    return await push_file(session, source, model, fetched_from=fetched_from, source_name=name)
