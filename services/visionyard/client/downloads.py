"""Downloads that go on where they stopped: written beside their target, checked, then renamed into place."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import google_crc32c

from visionyard.client.endpoints import Service
from visionyard.client.errors import ClientError, local
from visionyard.client.transport import Patience, Transport
from visionyard.kit.errors import Reason
from visionyard.transfer.v1 import transfer_service_pb2
from visionyard.transfer.v1.transfer_service_pb2_grpc import TransferServiceStub

OnFile = Callable[[str, int, int], None]
"""Called with a file's path, bytes done and bytes in all."""
ListFiles = Callable[[], Awaitable[Sequence[transfer_service_pb2.StoredFile]]]
"""Lists a resource's files as they are now."""
PART_SUFFIX = ".part"
"""What an unfinished file's name ends with."""
_HASH_BYTES = 1 << 20
_DAMAGED_RETRIES = 2
_REPLACED_RETRIES = 20
_STALE = frozenset({Reason.FILE_NOT_FOUND.name, Reason.UPLOAD_CORRUPT.name, Reason.INVALID_FIELD.name})
"""How a file fails that was replaced after it was listed: gone, of other bytes, or shorter than what was received before."""


def safe_target(folder: Path, path: str) -> Path:
    """Where a file with the path that a server gave belongs below ``folder``.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_NAME): the path is absolute, climbs out, or leads through a symbolic link out of the folder.
    """
    parts = PurePosixPath(path).parts
    wrong = not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path
    target = folder.joinpath(*parts)
    if not wrong:
        wrong = not target.parent.resolve().is_relative_to(folder.resolve())
    if wrong:
        raise local(
            Reason.INVALID_NAME, f"the server names a file {path!r} that lies outside of {folder}; nothing was written", {"path": path}
        )
    return target


async def write_whole(target: Path, parts: Iterable[bytes]) -> Path:
    """Writes a file that has come whole; one that is there is replaced once the new one is written. Returns its path."""
    part = _part(target)
    await asyncio.to_thread(part.write_bytes, b"".join(parts))
    part.replace(target)
    return target


class Downloads:
    """Reads files of resources.

    Args:
        transport: The channels.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def files(
        self,
        service: Service,
        name: str,
        files: Iterable[transfer_service_pb2.StoredFile],
        folder: Path,
        on_file: OnFile | None = None,
        list_again: ListFiles | None = None,
    ) -> list[Path]:
        """Downloads files of a resource into a folder; those that lie there already, with the right sha256, are left as they are.

        Args:
            service: ``dataset`` or ``training``.
            name: The resource.
            files: Which, as the resource's list of files gives them.
            folder: Where to; made where it is not there.
            on_file: Called now and then.
            list_again: Lists the resource's files again: those of a running job are replaced by newer ones while they are read.

        Returns:
            The files' paths, in order.

        Raises:
            ClientError: NOT_FOUND (FILE_NOT_FOUND), DATA_LOSS (UPLOAD_CORRUPT) where the bytes stay damaged, INVALID_ARGUMENT (INVALID_NAME).
        """
        targets = [(file, safe_target(folder, file.path)) for file in files]
        for file, target in targets:
            await self._whole(service, name, file, target, on_file, list_again)
        return [target for _, target in targets]

    async def _whole(
        self,
        service: Service,
        name: str,
        file: transfer_service_pb2.StoredFile,
        target: Path,
        on_file: OnFile | None,
        list_again: ListFiles | None,
    ) -> None:
        """Downloads a file, again where it arrived damaged, and its newest form where it was replaced meanwhile."""
        damaged = replaced = 0
        while damaged <= _DAMAGED_RETRIES and replaced <= _REPLACED_RETRIES:
            failure = _damaged(file.path)
            try:
                if await self._file(service, name, file, target, on_file):
                    await self._confirm(service, name, file)
                    return
            except ClientError as error:
                if error.reason not in _STALE or list_again is None:
                    raise
                failure = error
            now = next((entry for entry in await list_again() if entry.path == file.path), None) if list_again else file
            if now is None:
                raise failure
            if now.sha256 == file.sha256:
                damaged += 1
            else:
                replaced += 1
                file = now
                _part(target).unlink(missing_ok=True)
        raise failure

    async def _confirm(self, service: Service, name: str, file: transfer_service_pb2.StoredFile) -> None:
        """Tells the server, whose machine may be about to go, that the file is safe here; the download is none the worse where it does not want to know."""
        if service != "training" or not file.sha256:
            return
        request = transfer_service_pb2.ConfirmDownloadRequest(name=name, path=file.path, sha256=file.sha256)
        with suppress(ClientError):
            await self._transport.unary(service, lambda channel: TransferServiceStub(channel).ConfirmDownload, request)

    async def _file(self, service: Service, name: str, file: transfer_service_pb2.StoredFile, target: Path, on_file: OnFile | None) -> bool:
        """Downloads a file; whether its sha256 fits."""
        if file.sha256 and await asyncio.to_thread(_sha256, target) == file.sha256:
            if on_file:
                on_file(file.path, file.size_bytes, file.size_bytes)
            return True
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part(target)
        if not file.sha256:
            # A file that is still being written has no fixed content to go on with.
            part.unlink(missing_ok=True)
        with part.open("ab") as sink:
            await self._receive(service, name, file, sink, on_file)
        if file.sha256 and await asyncio.to_thread(_sha256, part) != file.sha256:
            part.unlink()
            return False
        os.replace(part, target)  # noqa: PTH105 - Path.replace is the same call; os.replace says that it is atomic
        return True

    async def _receive(
        self, service: Service, name: str, file: transfer_service_pb2.StoredFile, sink: BinaryIO, on_file: OnFile | None
    ) -> None:
        if file.sha256 and sink.tell() > file.size_bytes:
            sink.truncate(0)
        size = -1 if not file.sha256 else file.size_bytes
        patience = Patience(self._transport, service)
        while size < 0 or sink.tell() < size:
            before = sink.tell()
            async for response in self._transport.stream(
                service,
                lambda channel: TransferServiceStub(channel).ReadFile,
                lambda: transfer_service_pb2.ReadFileRequest(name=name, path=file.path, offset=sink.tell()),
                patience,
            ):
                if 0 <= size != response.size_bytes:
                    raise _damaged(file.path)
                size = response.size_bytes
                if response.offset != sink.tell() or google_crc32c.value(response.data) != response.crc32c:
                    raise _damaged(file.path)
                await asyncio.to_thread(sink.write, response.data)
                if on_file:
                    on_file(file.path, sink.tell(), size)
            if sink.tell() == before and (size < 0 or before < size):
                if size < 0:
                    return
                raise _damaged(file.path)


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART_SUFFIX)


def _sha256(path: Path) -> str:
    """Of a file, 64 hexadecimal digits; empty where there is no file."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_HASH_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _damaged(path: str) -> ClientError:
    return local(Reason.UPLOAD_CORRUPT, f"{path} arrived damaged; run the same command again", {"path": path})
