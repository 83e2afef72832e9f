"""Uploads and downloads over a real gRPC server and a real SeaweedFS."""

import asyncio
import hashlib
import os
import zipfile

import google_crc32c
import grpc
import grpc.aio
import psutil
import pytest

from visionyard.kit.errors import Reason
from visionyard.kit.objectstore.port import NotFound
from visionyard.kit.server.interceptors.chain import CallChain
from visionyard.kit.server.interceptors.errors import Errors
from visionyard.kit.status import from_rpc_error
from visionyard.kit.transfer.files import FileLocation, file_not_found
from visionyard.kit.transfer.mapping import upload_name
from visionyard.kit.transfer.servicer import TransferServicer
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.transfer.v1 import transfer_service_pb2 as pb
from visionyard.transfer.v1 import transfer_service_pb2_grpc

MIB = 2**20


class Files:
    """A room with one resource."""

    def __init__(self, store):
        self.store = store

    def resolve(self, name, path):
        try:
            return FileLocation(f"files/{path}", 5 if path == "gone" else self.store.head(f"files/{path}").size)
        except (NotFound, ValueError):
            raise file_not_found(name, path) from None


@pytest.fixture
def uploads(s3_store):
    return UploadStore(s3_store, 2**32)


@pytest.fixture
async def stub(s3_store, uploads):
    server = grpc.aio.server(interceptors=[CallChain([Errors("store")], 8 * MIB)])
    servicer = TransferServicer(s3_store, uploads, Files(s3_store))
    transfer_service_pb2_grpc.add_TransferServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as channel:
        made = transfer_service_pb2_grpc.TransferServiceStub(channel)
        made.servicer = servicer
        yield made
    await server.stop(5)


async def start(stub, data, request_id="r"):
    request = pb.StartUploadRequest(
        parent="projects/default", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), request_id=request_id
    )
    return (await stub.StartUpload(request)).upload


def chunk(name, offset, data):
    return pb.WriteUploadRequest(name=name, offset=offset, data=bytes(data), crc32c=google_crc32c.value(bytes(data)))


async def chunks(name, data, offset=0, size=MIB):
    for begin in range(offset, len(data), size):
        yield chunk(name, begin, data[begin : begin + size])


async def download(stub, path, offset=0):
    received = b""
    async for answer in stub.ReadFile(pb.ReadFileRequest(name="projects/default/x/y", path=path, offset=offset)):
        assert answer.offset == offset + len(received)
        assert google_crc32c.value(answer.data) == answer.crc32c
        assert len(answer.data) <= MIB
        received += answer.data
        size = answer.size_bytes
    return received, size


async def refused(reason, call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    received = from_rpc_error(error.value)
    assert received.known_reason is reason, received
    assert received.code is reason.code
    return received


async def test_upload_and_use_it(stub, uploads, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("big", os.urandom(20 * MIB))
        archive.writestr("small", b"hello")
    data = (tmp_path / "a.zip").read_bytes()
    upload = await start(stub, data)
    assert (upload.committed_bytes, upload.complete, upload.size_bytes) == (0, False, len(data))
    done = (await stub.WriteUpload(chunks(upload.name, data))).upload
    assert (done.committed_bytes, done.complete) == (len(data), True)
    assert done.create_time.seconds > 0
    assert (await stub.GetUpload(pb.GetUploadRequest(name=upload.name))).upload == done
    assert await start(stub, data) == done

    def read():
        with uploads.open(upload_name(upload.name)) as file, zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            return archive.read("small")

    assert await asyncio.to_thread(read) == b"hello"
    await stub.DeleteUpload(pb.DeleteUploadRequest(name=upload.name))
    await stub.DeleteUpload(pb.DeleteUploadRequest(name=upload.name))
    await refused(Reason.UPLOAD_NOT_FOUND, stub.GetUpload(pb.GetUploadRequest(name=upload.name)))
    assert list(uploads._store.list("")) == []


async def until_committed(stub, name, wanted):
    for _ in range(300):
        upload = (await stub.GetUpload(pb.GetUploadRequest(name=name))).upload
        if upload.committed_bytes >= wanted:
            return upload
        await asyncio.sleep(0.05)
    raise AssertionError(f"{upload.committed_bytes} of {wanted}")


async def test_a_broken_stream_goes_on_at_the_committed_offset(stub):
    data = os.urandom(30 * MIB + 4321)
    upload = await start(stub, data)
    sent = asyncio.Event()

    async def breaks_off():
        for begin in range(0, 19 * MIB, MIB):
            yield chunk(upload.name, begin, data[begin : begin + MIB])
        sent.set()
        await asyncio.sleep(60)

    call = stub.WriteUpload(breaks_off())
    await asyncio.wait_for(sent.wait(), 30)
    # Two whole parts are stored while the stream is open; what lies in the buffer only when it breaks.
    await until_committed(stub, upload.name, 16 * MIB)
    call.cancel()
    resumed = await until_committed(stub, upload.name, 16 * MIB + 1)
    assert not resumed.complete
    assert resumed.committed_bytes <= 19 * MIB
    again = await start(stub, data)
    assert again.name == upload.name
    assert again.committed_bytes == resumed.committed_bytes
    done = (await stub.WriteUpload(chunks(upload.name, data, again.committed_bytes))).upload
    assert done.complete
    assert not stub.servicer._last_parts


async def test_two_clients_send_the_same_upload_at_once(stub, uploads):
    data = os.urandom(20 * MIB + 7)
    upload = await start(stub, data)
    first, second = await asyncio.gather(
        stub.WriteUpload(chunks(upload.name, data)), stub.WriteUpload(chunks(upload.name, data, size=777_777))
    )
    assert first.upload.complete
    assert second.upload.complete
    assert await asyncio.to_thread(lambda: uploads.open(upload_name(upload.name)).read()) == data


async def test_what_does_not_fit_is_refused_and_what_came_before_stays(stub):
    data = os.urandom(3 * MIB)
    upload = await start(stub, data)

    async def stream(*requests):
        for request in requests:
            yield request

    good = chunk(upload.name, 0, data[:MIB])
    error = await refused(Reason.UPLOAD_OFFSET_MISMATCH, stub.WriteUpload(stream(good, chunk("", 2 * MIB, data[2 * MIB :]))))
    assert error.metadata == {"committed_bytes": str(MIB)}
    assert (await stub.GetUpload(pb.GetUploadRequest(name=upload.name))).upload.committed_bytes == MIB
    damaged = chunk("", 2 * MIB, data[2 * MIB :])
    damaged.crc32c ^= 1
    await refused(Reason.UPLOAD_CORRUPT, stub.WriteUpload(stream(chunk(upload.name, MIB, data[MIB : 2 * MIB]), damaged)))
    assert (await stub.GetUpload(pb.GetUploadRequest(name=upload.name))).upload.committed_bytes == 2 * MIB
    await refused(Reason.REQUEST_TOO_LARGE, stub.WriteUpload(stream(chunk(upload.name, 2 * MIB, b"x" * (2 * MIB + 1)))))
    assert (await stub.WriteUpload(stream(chunk(upload.name, 2 * MIB, data[2 * MIB :])))).upload.complete
    await refused(Reason.INVALID_FIELD, stub.WriteUpload(stream()))
    await refused(Reason.INVALID_NAME, stub.WriteUpload(stream(chunk("projects/p/models/m", 0, b"x"))))
    await refused(Reason.UPLOAD_NOT_FOUND, stub.WriteUpload(stream(chunk("projects/p/uploads/none", 0, b"x"))))


async def test_wrong_bytes_leave_nothing(stub, s3_store):
    request = pb.StartUploadRequest(parent="projects/default", size_bytes=9 * MIB, sha256="0" * 64)
    name = (await stub.StartUpload(request)).upload.name
    await refused(Reason.UPLOAD_CORRUPT, stub.WriteUpload(chunks(name, bytes(9 * MIB))))
    assert await asyncio.to_thread(lambda: list(s3_store.list(""))) == []


async def test_an_empty_file(stub):
    assert (await start(stub, b"")).complete


async def test_download(stub, s3_store):
    data = os.urandom(5 * MIB + 123)
    await asyncio.to_thread(s3_store.put, "files/a b.bin", data)
    await asyncio.to_thread(s3_store.put, "files/empty", b"")
    for offset in (0, 1, MIB, len(data) - 1, len(data)):
        assert await download(stub, "a b.bin", offset) == (data[offset:], len(data))
    assert await download(stub, "empty") == (b"", 0)
    await refused(Reason.FILE_NOT_FOUND, download(stub, "none"))
    await refused(Reason.FILE_NOT_FOUND, download(stub, "gone"))
    await refused(Reason.FILE_NOT_FOUND, download(stub, "../etc/passwd"))
    await refused(Reason.INVALID_FIELD, download(stub, "a b.bin", len(data) + 1))
    await refused(Reason.INVALID_FIELD, download(stub, "a b.bin", -1))


async def test_a_client_that_stops_reading(stub, s3_store):
    await asyncio.to_thread(s3_store.put, "files/large", bytes(40 * MIB))
    call = stub.ReadFile(pb.ReadFileRequest(name="projects/default/x/y", path="large"))
    await call.read()
    call.cancel()
    assert (await download(stub, "large", 39 * MIB))[0] == bytes(MIB)


async def test_memory_stays_flat(stub):
    """The client's and the server's share of one process, while 200 MiB go through."""
    total = 200
    piece = os.urandom(MIB)
    digest = hashlib.sha256()
    for _ in range(total):
        digest.update(piece)
    request = pb.StartUploadRequest(parent="projects/default", size_bytes=total * MIB, sha256=digest.hexdigest())
    name = (await stub.StartUpload(request)).upload.name
    process = psutil.Process()
    most = 0
    before = process.memory_info().rss

    async def stream():
        nonlocal most
        for n in range(total):
            yield chunk(name, n * MIB, piece)
            most = max(most, process.memory_info().rss)

    assert (await stub.WriteUpload(stream())).upload.complete
    assert most - before < 160 * MIB
