"""The transfer service's messages from and to the domain."""

from __future__ import annotations

from visionyard.kit.names import ResourceName
from visionyard.kit.transfer.files import Chunk
from visionyard.kit.transfer.uploads import COLLECTION, Upload
from visionyard.transfer.v1 import transfer_service_pb2 as pb


def upload_name(name: str) -> ResourceName:
    """Raises YardError (INVALID_NAME) for anything but an upload's name."""
    return ResourceName.parse(name, COLLECTION)


def upload_message(upload: Upload) -> pb.Upload:
    """An upload as it is sent."""
    message = pb.Upload(
        name=str(upload.name),
        size_bytes=upload.size,
        sha256=upload.sha256,
        committed_bytes=upload.committed,
        complete=upload.complete,
    )
    message.create_time.FromDatetime(upload.create_time)
    return message


def chunk_message(chunk: Chunk, size: int) -> pb.ReadFileResponse:
    """A chunk of a file of ``size`` bytes as it is sent."""
    return pb.ReadFileResponse(size_bytes=size, offset=chunk.offset, data=chunk.data, crc32c=chunk.crc32c)
