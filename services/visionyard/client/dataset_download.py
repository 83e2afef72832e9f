"""Downloads a dataset version into a folder, file after file, and remembers there how far it came."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from visionyard.client.downloads import PART_SUFFIX, safe_target
from visionyard.client.errors import ClientError, local
from visionyard.client.transport import Patience, Transport
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2
from visionyard.dataset.v1.dataset_service_pb2_grpc import DatasetServiceStub
from visionyard.kit.errors import Reason

OnDownload = Callable[[str, int, int], None]
"""Called with the file at hand, bytes done and bytes in all."""
STATE_FILE = ".visionyard-download.json"
"""Lies in the folder until the download is whole."""
_REMEMBER_EVERY_FILES = 256
_MOST_OTHERS = 100_000
"""So many files of the folder are compared with the version's."""


@dataclass(frozen=True)
class Downloaded:
    """A version in a folder.

    Attributes:
        name: The version's resource name.
        folder: Where it lies.
        file_count: How many files it has.
        total_bytes: The bytes of all its files.
        others: Files that lay in the folder before and are none of the version's, by path: whoever trains on the folder trains on them too.
    """

    name: str
    folder: Path
    file_count: int
    total_bytes: int
    others: tuple[str, ...] = ()


class DatasetDownload:
    """One download.

    Args:
        transport: The channels.
        version: What to download.
        folder: Where to.
        on_progress: Called now and then.
        layout: ``yolo``, ``coco``, ...
        uncertain: Only so many images, the least certain; 0 for all.
    """

    def __init__(
        self,
        transport: Transport,
        version: dataset_pb2.DatasetVersion,
        folder: Path,
        on_progress: OnDownload | None,
        layout: str,
        uncertain: int,
    ) -> None:
        self._transport = transport
        self._version = version
        self._folder = folder
        self._on_progress = on_progress
        self._layout = layout
        self._uncertain = uncertain
        self._last_path = ""
        self._done_files = 0
        self._done_bytes = 0
        self._header = dataset_service_pb2.DownloadedFile()
        self._open: _OpenFile | None = None
        self._others: set[str] = set()

    async def run(self) -> Downloaded:
        """Downloads what is not there yet.

        Raises:
            ClientError: the server's refusal, or INVALID_ARGUMENT (INVALID_NAME) for a path that leads out of the folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._recall():
            self._others = await asyncio.to_thread(_files, self._folder)
        patience = Patience(self._transport, "dataset")
        try:
            async for response in self._transport.stream(
                "dataset",
                lambda channel: DatasetServiceStub(channel).DownloadDatasetVersion,
                self._request,
                patience,
            ):
                if response.WhichOneof("part") == "file":
                    await self._begin(response.file)
                else:
                    await self._append(response.data)
            await self._finish()
        except BaseException:
            self._remember(others=sorted(self._others))
            raise
        finally:
            self._drop()
        (self._folder / STATE_FILE).unlink(missing_ok=True)
        return Downloaded(self._version.name, self._folder, self._done_files, self._done_bytes, tuple(sorted(self._others)))

    def _request(self) -> dataset_service_pb2.DownloadDatasetVersionRequest:
        self._drop()
        return dataset_service_pb2.DownloadDatasetVersionRequest(
            name=self._version.name,
            after_path=self._last_path,
            layout=dataset_service_pb2.DatasetLayout.Value(f"DATASET_LAYOUT_{self._layout.upper()}"),
            uncertain_count=self._uncertain,
        )

    async def _begin(self, file: dataset_service_pb2.DownloadedFile) -> None:
        await self._finish()
        self._header = file
        target = safe_target(self._folder, file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART_SUFFIX)
        self._open = _OpenFile(file.path, file.size_bytes, part, target, part.open("wb"))

    async def _append(self, data: bytes) -> None:
        if self._open is None:
            raise local(Reason.UPLOAD_CORRUPT, "the dataset service sent bytes that belong to no file; run the same command again")
        await asyncio.to_thread(self._open.sink.write, data)
        if self._on_progress:
            self._on_progress(self._open.path, self._done_bytes + self._open.sink.tell(), self._header.total_bytes)

    async def _finish(self) -> None:
        """Moves the file that is whole into place."""
        file, self._open = self._open, None
        if file is None:
            return
        size = file.sink.tell()
        file.sink.close()
        if size != file.size_bytes:
            file.part.unlink()
            raise _short(file.path)
        file.part.replace(file.target)
        self._last_path = file.path
        self._others.discard(file.path)
        self._done_files += 1
        self._done_bytes += size
        if self._done_files % _REMEMBER_EVERY_FILES == 0:
            self._remember()
        if self._on_progress:
            self._on_progress(file.path, self._done_bytes, self._header.total_bytes)

    def _drop(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            file.sink.close()
            file.part.unlink(missing_ok=True)

    def _remember(self, **more: list[str]) -> None:
        state = {
            "name": self._version.name,
            "digest": self._version.digest,
            "layout": self._layout,
            "uncertain": self._uncertain,
            "last_path": self._last_path,
            "files": self._done_files,
            "bytes": self._done_bytes,
            **more,
        }
        path = self._folder / STATE_FILE
        part = path.with_name(path.name + PART_SUFFIX)
        part.write_text(json.dumps(state), encoding="utf-8")
        part.replace(path)

    def _recall(self) -> bool:
        """Whether an earlier download of the same stopped on the way; goes on where it was."""
        try:
            state = json.loads((self._folder / STATE_FILE).read_text(encoding="utf-8"))
            wanted = (self._version.name, self._version.digest, self._layout, self._uncertain)
            if (state["name"], state["digest"], state["layout"], state["uncertain"]) == wanted:
                self._others = set(map(str, state.get("others", [])))  # not told where the download was killed
                self._last_path, self._done_files, self._done_bytes = str(state["last_path"]), int(state["files"]), int(state["bytes"])
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return False


def _files(folder: Path) -> set[str]:
    """What lies in a folder, hidden files and pieces of downloads left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".") and path.suffix != PART_SUFFIX)
    return {path.relative_to(folder).as_posix() for path in itertools.islice(found, _MOST_OTHERS)}


@dataclass(frozen=True)
class _OpenFile:
    path: str
    size_bytes: int
    part: Path
    target: Path
    sink: BinaryIO


def _short(path: str) -> ClientError:
    return local(Reason.UPLOAD_CORRUPT, f"{path} arrived incomplete; run the same command again", {"path": path})
