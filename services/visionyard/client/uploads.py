"""Uploads that go on where they stopped: a client stream of 1 MiB chunks, each with its crc32c, from the server's committed offset on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import google_crc32c
from grpc import aio

from visionyard.client.endpoints import Service
from visionyard.client.errors import ClientError, local
from visionyard.client.references import References
from visionyard.client.sources import CHUNK_BYTES, Reader, Source
from visionyard.client.transport import STREAM_TIMEOUT_S, Patience, Transport, call_metadata
from visionyard.kit.errors import Reason
from visionyard.kit.request_id import new_request_id
from visionyard.transfer.v1 import transfer_service_pb2
from visionyard.transfer.v1.transfer_service_pb2_grpc import TransferServiceStub

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done ("reading", "uploading"), bytes done and bytes in all."""
FINISH_TIMEOUT_S = 600.0
"""For the calls in which the server may have to read a whole upload again to check it."""
_MESSAGES_AT_ONCE = 4
_MOVED = frozenset({Reason.UPLOAD_OFFSET_MISMATCH.name})


class AsyncUploads:
    """Uploads to the services that take them (dataset and training).

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def upload(
        self, service: Service, source: Source, *, request_id: str = "", on_progress: OnProgress | None = None
    ) -> transfer_service_pb2.Upload:
        """Uploads a source, and goes on where an earlier call with the same request_id stopped.

        Args:
            service: ``dataset`` or ``training``.
            source: What to upload.
            request_id: A UUID; the same one with the same content finds the same upload. Empty: a fresh one.
            on_progress: Called now and then, from this task.

        Returns:
            The complete upload.

        Raises:
            ClientError: DATA_LOSS (UPLOAD_CORRUPT) where the source changed on the way, and what reading the source raises.
        """
        # Where nobody has asked for the sha256 yet it is taken while the bytes are sent, so that they are read once.
        request = transfer_service_pb2.StartUploadRequest(
            parent=self._names.parent,
            size_bytes=source.size_bytes,
            sha256=source.known_sha256,
            request_id=request_id or new_request_id(),
        )
        response = await self._transport.unary(
            service, lambda channel: TransferServiceStub(channel).StartUpload, request, timeout_s=FINISH_TIMEOUT_S
        )
        upload = response.upload
        patience = Patience(self._transport, service)
        while not upload.complete:
            sender = _Sender(source, upload, on_progress)
            try:
                upload = await self._write(service, sender)
            except aio.AioRpcError as error:
                # Another stream of the same upload (a killed client's, lingering) may have moved the offset: look where it is, and go on.
                await patience.after(error, repeat=_MOVED)
                now = await self.get(service, upload.name)
                if now.committed_bytes > upload.committed_bytes:
                    patience.progressed()
                upload = now
        if on_progress:
            on_progress("uploading", source.size_bytes, source.size_bytes)
        return upload

    async def get(self, service: Service, name: str) -> transfer_service_pb2.Upload:
        """How far an upload is.

        Raises:
            ClientError: NOT_FOUND (UPLOAD_NOT_FOUND).
        """
        request = transfer_service_pb2.GetUploadRequest(name=name)
        response = await self._transport.unary(
            service, lambda channel: TransferServiceStub(channel).GetUpload, request, timeout_s=FINISH_TIMEOUT_S
        )
        return response.upload

    async def delete(self, service: Service, name: str) -> None:
        """Throws an upload away. Doing so twice is no error."""
        request = transfer_service_pb2.DeleteUploadRequest(name=name)
        await self._transport.unary(service, lambda channel: TransferServiceStub(channel).DeleteUpload, request)

    async def _write(self, service: Service, sender: _Sender) -> transfer_service_pb2.Upload:
        stub = TransferServiceStub(self._transport.channel(service))
        try:
            response = await stub.WriteUpload(sender.chunks(), timeout=STREAM_TIMEOUT_S, metadata=call_metadata())
        except asyncio.CancelledError:
            # grpc.aio cancels a call whose request iterator raised; the reason is the iterator's.
            if sender.failure is None:
                raise
            raise sender.failure from None
        except aio.AioRpcError:
            if sender.failure is not None:
                raise sender.failure from None
            raise
        self._transport.mark_reached(service)
        return response.upload


class _Sender:
    """One stream's chunks.

    Attributes:
        failure: What went wrong in reading the source; None as long as nothing did.
    """

    def __init__(self, source: Source, upload: transfer_service_pb2.Upload, on_progress: OnProgress | None) -> None:
        self._source = source
        self._upload = upload
        self._on_progress = on_progress
        self.failure: ClientError | None = None
        self._digest: hashlib._Hash | None = None
        self._read_to = 0

    async def chunks(self) -> AsyncIterator[transfer_service_pb2.WriteUploadRequest]:
        """The messages: 1 MiB each, read and hashed some at a time in a thread, the next ones while these are sent."""
        try:
            with self._source.open(self._position()) as reader:
                async with aclosing(self._batches(reader)) as batches:
                    async for messages in batches:
                        for message in messages:
                            yield message
                            self._tell(message.offset + len(message.data))
        except ClientError as error:
            self.failure = error
            raise
        except OSError as error:
            self.failure = local(Reason.FILE_NOT_FOUND, f"{self._source.name} can no longer be read: {error.strerror or error}")
            raise self.failure from error

    async def _batches(self, reader: Reader) -> AsyncGenerator[list[transfer_service_pb2.WriteUploadRequest]]:
        """The messages, some at a time; the next ones are read meanwhile."""
        reading, end = asyncio.create_task(asyncio.to_thread(self._read, reader)), False
        try:
            while not end:
                await asyncio.wait({reading})  # not the task itself: a cancelled call would cancel it, while its thread goes on reading
                messages = reading.result()
                end = self._read_to == self._source.size_bytes
                if not end:
                    reading = asyncio.create_task(asyncio.to_thread(self._read, reader))
                yield messages
        finally:
            await asyncio.wait({reading})
            reading.cancelled() or reading.exception()  # looked at, so that nothing is logged about it

    def _position(self) -> int:
        """Where reading begins: at the front where the sha256 is still to be taken, also of what has been sent before."""
        self._digest = None if self._upload.sha256 else hashlib.sha256()
        self._read_to = 0 if self._digest else self._upload.committed_bytes
        return self._read_to

    def _read(self, reader: Reader) -> list[transfer_service_pb2.WriteUploadRequest]:
        """The next messages; what the server has already is only hashed. Blocks."""
        messages: list[transfer_service_pb2.WriteUploadRequest] = []
        size, committed = self._source.size_bytes, self._upload.committed_bytes
        while len(messages) < _MESSAGES_AT_ONCE:
            # Up to the committed offset first, so that the next chunk begins there.
            left = committed - self._read_to if self._read_to < committed else CHUNK_BYTES
            data = reader.read(min(CHUNK_BYTES, left))
            if not data and self._read_to < size:
                raise changed(self._source.name)
            offset = self._read_to
            self._read_to += len(data)
            if self._digest is not None:
                self._digest.update(data)
            if self._read_to > committed or self._read_to == size:
                messages.append(self._message(offset, data) if offset >= committed else self._message(size, b""))
            if self._read_to == size:
                break
        return messages

    def _message(self, offset: int, data: bytes) -> transfer_service_pb2.WriteUploadRequest:
        message = transfer_service_pb2.WriteUploadRequest(
            name=self._upload.name, offset=offset, data=data, crc32c=google_crc32c.value(data)
        )
        if self._digest is not None and self._read_to == self._source.size_bytes:
            message.sha256 = self._digest.hexdigest()
        return message

    def _tell(self, done: int) -> None:
        if self._on_progress:
            self._on_progress("uploading", done, self._source.size_bytes)


def changed(name: str) -> ClientError:
    """A source that is no longer what its sha256 was taken of."""
    return local(Reason.UPLOAD_CORRUPT, f"{name} changed while it was being uploaded; run the same command again", {"file": name})
