import asyncio
import io
import threading

from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.transfer.files import FileLocation
from visionyard.kit.transfer.servicer import TransferServicer
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.transfer.v1 import transfer_service_pb2 as pb


class SlowStore(MemoryObjectStore):
    """Sends the first MiB at once, the second when a gate opens."""

    def __init__(self):
        super().__init__()
        self.waits, self.gate = threading.Event(), threading.Event()

    def open(self, key, offset=0, length=None):
        self.stream = _SlowStream(self, super().open(key, offset, length).read())
        return self.stream


class _SlowStream(io.BytesIO):
    def __init__(self, store, data):
        super().__init__(data)
        self._store = store

    def read(self, size=-1):
        if self.tell():
            self._store.waits.set()
            self._store.gate.wait(10)
        return super().read(size)


class Files:
    def resolve(self, name, path):
        return FileLocation("files/large", 3 << 20)


def test_a_download_that_is_broken_off_gives_its_connection_back():
    """Cancelled by its client and then by the server that stops, and whoever keeps the error with its frames: the stream to the store is closed all the same."""
    store, kept = SlowStore(), []
    store.put("files/large", bytes(3 << 20))
    servicer = TransferServicer(store, UploadStore(store, 1 << 30), Files())

    async def call():
        try:
            async for _ in servicer.ReadFile(pb.ReadFileRequest(name="projects/default/x/y", path="large"), None):
                pass
        except asyncio.CancelledError as error:
            kept.append(error)
            raise

    async def main():
        loop, task = asyncio.get_running_loop(), asyncio.create_task(call())
        assert await asyncio.to_thread(store.waits.wait, 5)
        task.cancel()
        loop.call_soon(task.cancel)
        loop.call_later(0.2, store.gate.set)
        await asyncio.wait({task})

    asyncio.run(main())
    assert kept
    assert store.stream.closed
