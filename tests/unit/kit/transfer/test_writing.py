"""A stream of chunks that ends at a bad moment leaves nothing on the service's disk."""

import asyncio
import gc
import hashlib
import threading

import google_crc32c
import pytest

from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.transfer.copies import LocalCopies
from visionyard.kit.transfer.parts import PART_BYTES
from visionyard.kit.transfer.servicer import TransferServicer
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.transfer.v1 import transfer_service_pb2 as pb

DATA = bytes(PART_BYTES + 1000)
CHUNK = 1 << 20


class Gated(MemoryObjectStore):
    """Waits at one kind of call until a gate opens, and may break there."""

    def __init__(self):
        super().__init__()
        self.at, self.breaks = "", False
        self.waits, self.gate = threading.Event(), threading.Event()

    def _pass(self, call):
        if call == self.at:
            breaks = self.breaks
            self.waits.set()
            self.gate.wait(10)
            if breaks:
                raise StoreUnavailable("it went away")

    def get(self, key, offset=0, length=None):
        self._pass("get")
        return super().get(key, offset, length)

    def create(self, key, data):
        self._pass("create")
        return super().create(key, data)

    def put(self, key, data):
        self._pass("put")
        return super().put(key, data)


@pytest.fixture
def store():
    made = Gated()
    yield made
    made.gate.set()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "copies"


@pytest.fixture
def servicer(store, folder):
    return TransferServicer(store, UploadStore(store, 1 << 40, copies=LocalCopies(folder, keep_free_bytes=0)), None)


async def chunks(name, data=DATA):
    for begin in range(0, len(data), CHUNK):
        piece = data[begin : begin + CHUNK]
        yield pb.WriteUploadRequest(name=name, offset=begin, data=piece, crc32c=google_crc32c.value(piece))


async def begun(servicer, data=DATA):
    request = pb.StartUploadRequest(parent=str(ProjectName("p")), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return (await servicer.StartUpload(request, None)).upload.name


async def cancelled_at(servicer, store, call):
    """An upload whose client goes while the service waits for the store."""
    name = await begun(servicer)
    store.at = call
    task = asyncio.create_task(servicer.WriteUpload(chunks(name), None))
    assert await asyncio.to_thread(store.waits.wait, 5)
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task}, timeout=0.1)
    store.at = ""
    store.gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
    if servicer._last_parts:
        await asyncio.wait(set(servicer._last_parts))
    return name


async def test_a_client_that_goes_before_its_upload_was_found(servicer, store, folder):
    await cancelled_at(servicer, store, "get")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("call", [pytest.param("create", id="a part is stored"), pytest.param("put", id="it is completed")])
async def test_a_client_that_goes_when_all_has_come(servicer, store, folder, call):
    """The upload is completed, though nobody hears of it."""
    name = await cancelled_at(servicer, store, call)
    assert not list(folder.glob(".*.part"))
    upload = (await servicer.GetUpload(pb.GetUploadRequest(name=name), None)).upload
    assert (upload.committed_bytes, upload.complete) == (len(DATA), True)
    assert len(list(folder.iterdir())) == 1


async def test_a_store_that_breaks(servicer, store, folder):
    name = await begun(servicer)
    store.at, store.breaks = "create", True
    store.gate.set()
    with pytest.raises(StoreUnavailable):
        await servicer.WriteUpload(chunks(name), None)
    assert not list(folder.iterdir())


async def test_a_stream_that_breaks(servicer, folder):
    name = await begun(servicer)

    async def breaks_off():
        async for chunk in chunks(name):
            yield chunk
            if chunk.offset == PART_BYTES - CHUNK:
                raise ConnectionError

    with pytest.raises(ConnectionError):
        await servicer.WriteUpload(breaks_off(), None)
    assert (await servicer.GetUpload(pb.GetUploadRequest(name=name), None)).upload.committed_bytes == PART_BYTES
    assert not list(folder.iterdir())


async def test_a_client_that_goes_and_a_store_that_breaks_then_are_no_news(servicer, store, folder, caplog):
    store.breaks = True
    await cancelled_at(servicer, store, "create")
    gc.collect()
    await asyncio.sleep(0)
    assert not caplog.records
    assert not list(folder.iterdir())
