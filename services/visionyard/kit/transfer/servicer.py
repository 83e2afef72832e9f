"""The transfer service on the wire, served by every room that takes or gives files."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from visionyard.kit.errors import invalid_field
from visionyard.kit.host import METADATA_KEY, host_id, is_host_id
from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.kit.server.steps import Steps
from visionyard.kit.transfer.files import FileResolver, file_not_found, read_chunks
from visionyard.kit.transfer.mapping import chunk_message, upload_message, upload_name
from visionyard.kit.transfer.parts import Part
from visionyard.kit.transfer.uploads import Upload, UploadStore
from visionyard.kit.transfer.writer import UploadWriter
from visionyard.transfer.v1 import transfer_service_pb2 as pb
from visionyard.transfer.v1 import transfer_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class TransferServicer(transfer_service_pb2_grpc.TransferServiceServicer):
    """Uploads and downloads. A stream holds at most three parts (24 MiB); while the store is slower than the client, nothing more is read from it.

    Args:
        store: The bucket.
        uploads: The room's uploads.
        files: Finds the files of the room's resources.
        on_upload: Called when an upload is about to come, on the event loop.
        on_taken: Called with the key of a file that a client on another machine says it has, in a thread.
    """

    def __init__(
        self,
        store: ObjectStore,
        uploads: UploadStore,
        files: FileResolver,
        on_upload: Callable[[], None] | None = None,
        on_taken: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._files = files
        self._on_upload = on_upload
        self._on_taken = on_taken
        self._last_parts: set[asyncio.Task[Upload]] = set()

    async def StartUpload(self, request: pb.StartUploadRequest, context: Context) -> pb.StartUploadResponse:
        """Begins or finds an upload."""
        project = ProjectName.parse(request.parent)
        upload = await asyncio.to_thread(self._uploads.start, project, request.size_bytes, request.sha256, request.request_id)
        if self._on_upload is not None:
            self._on_upload()
        return pb.StartUploadResponse(upload=upload_message(upload))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.GetUploadResponse:
        """Tells how an upload stands."""
        upload = await asyncio.to_thread(self._uploads.get, upload_name(request.name))
        return pb.GetUploadResponse(upload=upload_message(upload))

    async def WriteUpload(self, request_iterator: AsyncIterator[pb.WriteUploadRequest], context: Context) -> pb.WriteUploadResponse:
        """Takes chunks until the stream ends; what came before a break is stored."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None:
            raise invalid_field("name", "the stream held no message, so there is no upload to write to")
        writer = await asyncio.to_thread(self._uploads.writer, upload_name(first.name))
        storing = _Storing(writer)
        try:
            await storing.take(first)
            async for request in requests:
                await storing.take(request)
            storing.ended = True
        finally:
            # A task of its own: the call may be cancelled here, and once more when the server drains.
            last = asyncio.create_task(storing.end())
            self._last_parts.add(last)
            last.add_done_callback(self._ended)
            upload = await asyncio.shield(last)
        return pb.WriteUploadResponse(upload=upload_message(upload))

    def _ended(self, last: asyncio.Task[Upload]) -> None:
        self._last_parts.discard(last)
        last.cancelled() or last.exception()  # looked at, so that nothing is logged about it where the call has gone

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Context) -> pb.DeleteUploadResponse:
        """Throws an upload away."""
        await asyncio.to_thread(self._uploads.delete, upload_name(request.name))
        return pb.DeleteUploadResponse()

    async def ReadFile(self, request: pb.ReadFileRequest, context: Context) -> AsyncIterator[pb.ReadFileResponse]:
        """Sends a file; the next chunk is read while one is sent."""
        location = await asyncio.to_thread(self._files.resolve, request.name, request.path)
        with Steps(read_chunks(self._store, location, request.offset)) as chunks:
            try:
                async for chunk in chunks:
                    yield chunk_message(chunk, location.size)
            except NotFound:
                raise file_not_found(request.name, request.path) from None

    async def ConfirmDownload(self, request: pb.ConfirmDownloadRequest, context: Context) -> pb.ConfirmDownloadResponse:
        """Hears that a client has a file."""
        location = await asyncio.to_thread(self._files.resolve, request.name, request.path)
        is_it = bool(request.sha256) and request.sha256 == location.sha256
        if is_it and self._on_taken is not None and _is_elsewhere(context):
            await asyncio.to_thread(self._on_taken, location.key)
        return pb.ConfirmDownloadResponse()


def _is_elsewhere(context: Context) -> bool:
    """Whether a client says that it is on another machine; one that says nothing may be on this one, whatever its address."""
    told = dict(context.invocation_metadata() or ()).get(METADATA_KEY)
    return is_host_id(told) and told != host_id()


class _Storing:
    """Stores the parts of one stream, one after another, while the next one is received.

    Attributes:
        ended: Whether the stream came to its end; one that broke is not finished.
    """

    def __init__(self, writer: UploadWriter) -> None:
        self._writer = writer
        self._waiting: deque[Part] = deque()
        self._task: asyncio.Task[None] | None = None
        self.ended = False

    async def take(self, request: pb.WriteUploadRequest) -> None:
        """Takes a chunk; waits while a part is full and the one before is not stored yet."""
        self._writer.announce(request.sha256)
        part = self._writer.add(request.offset, request.data, request.crc32c)
        if part is not None:
            self._waiting.append(part)
            await self._advance()

    async def _advance(self) -> None:
        await self._settle()
        self._task = asyncio.create_task(asyncio.to_thread(self._writer.store, self._waiting.popleft()))

    async def _settle(self) -> None:
        if self._task is not None:
            # Not awaited itself: a cancelled call would cancel the task, while its thread goes on unwatched.
            await asyncio.wait({self._task})
            self._task.result()

    async def end(self) -> Upload:
        """Stores what has come and is not stored yet, and finishes the upload where its stream has come to an end; the writer is closed in any case.

        Returns:
            The upload as it stands, or stood before a stream that broke.
        """
        rest = self._writer.rest()
        if rest is not None:
            self._waiting.append(rest)
        try:
            while self._waiting:
                await self._advance()
            await self._settle()
            return await asyncio.to_thread(self._writer.finish) if self.ended else self._writer.upload
        finally:
            await asyncio.to_thread(self._writer.close)
